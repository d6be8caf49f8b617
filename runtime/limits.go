package runtime

const (
	// wasmPageBytes is the unit of memory (WebAssembly Core §4.2.8).
	wasmPageBytes = 64 << 10

	defaultMemoryPages    = 512     // 32 MiB
	maxMemoryPages        = 8 << 10 // 512 MiB
	defaultMaxModuleBytes = 8 << 20

	// maxInstances bounds what one module may be configured to: each costs at least two wazero functions (24 KB)
	// and its memory.
	maxInstances = 1 << 16

	// maxReasons bounds the list of a LoadError: a hostile file can have any number of bad imports.
	maxReasons = 32

	// maxRandomBytes bounds one request for random bytes, so that no host function takes longer than about a
	// millisecond.
	maxRandomBytes = 1 << 20

	// maxLogLineBytes bounds one line of a guest, by log or by stdout and stderr. A longer one is cut.
	maxLogLineBytes = 4 << 10

	// maxLogBytes bounds what one call may log, each line counted with logLineCost so that empty lines cost too.
	// Further lines are dropped and counted.
	maxLogBytes = 64 << 10
	logLineCost = 64

	// maxOutputBytes bounds what one call may write to stdout and stderr, heard or not, each write counted with
	// logLineCost. Further writes fail with EIO: a guest must not spin in fd_write on our time.
	maxOutputBytes = 1 << 20
)
