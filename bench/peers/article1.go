package peers

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/gobwas/ws"
	"github.com/mailru/easygo/netpoll"
)

// article1Workers is the size of the pool in the article author's own example.
const article1Workers = 128

// article1BufferBytes is the size of the pooled readers and writers.
const article1BufferBytes = 4096

// article1MaxBytes bounds a message.
const article1MaxBytes = 1 << 20

// article1Server is "A Million WebSockets and Go" as it is written: zero-copy
// upgrade, one poller, a one-shot descriptor for each connection, a pool of
// goroutines that are given closures, and a second trip through the pool for
// the writer. Five things are changed, without which it does not work:
//
//   - the accept loop is a goroutine of its own: inside the pool it takes the
//     workers away from connections that are open;
//   - a worker goes on until its reader is empty: a reader that is put back
//     with a second frame in it loses that frame;
//   - the outgoing packets are a list under a mutex: with a channel and
//     noWriterYet a packet can be stranded or two writers run;
//   - a worker waits for the poller's Start or Resume to return before it uses
//     the descriptor, which an event that comes at once would close meanwhile;
//   - where the pool is full, the sender is the writer itself: it would wait for
//     workers that wait for it.
//
// The descriptor is the library's Desc, which is a second file descriptor of
// the socket and makes it blocking at each Resume. Reads happen only when there
// are bytes, so that is bearable here.
type article1Server struct {
	*connServer
	poller netpoll.Poller
	pool   *article1Pool
	upg    ws.Upgrader
}

func startArticle1(address string) (Server, error) {
	poller, err := netpoll.New(nil)
	if err != nil {
		return nil, err
	}
	a := &article1Server{poller: poller, pool: newArticle1Pool(article1Workers)}
	s, err := listenConns(address, func(s *connServer, c net.Conn) {
		a.pool.schedule(func() { a.open(s, c) })
	})
	if err != nil {
		return nil, err
	}
	a.connServer = s
	return a, nil
}

// open upgrades a connection and gives it to the poller.
func (a *article1Server) open(s *connServer, c net.Conn) {
	if _, err := a.upg.Upgrade(c); err != nil {
		s.leave(c)
		return
	}
	desc, err := netpoll.HandleReadOnce(c)
	if err != nil {
		s.leave(c)
		return
	}
	ch := &article1Channel{conn: c, pool: a.pool}
	ch.turn.Lock()
	defer ch.turn.Unlock()
	err = a.poller.Start(desc, func(ev netpoll.Event) {
		if ev&netpoll.EventPollerClosed != 0 {
			return
		}
		a.pool.schedule(func() { // blocks the poller while the pool is full
			ch.turn.Lock()
			defer ch.turn.Unlock()
			err := ch.receive()
			if err == nil {
				err = a.poller.Resume(desc)
			}
			if err != nil {
				_ = a.poller.Stop(desc)
				_ = desc.Close()
				s.leave(c)
			}
		})
	})
	if err != nil {
		_ = desc.Close()
		s.leave(c)
	}
}

// Close implements Server. Each connection is shut down rather than closed, so
// that the poller tells its owner, who closes both of its descriptors.
func (a *article1Server) Close() error {
	err := a.closeAll(func(c net.Conn) { _ = c.(*net.TCPConn).CloseRead() })
	for {
		a.mu.Lock()
		n := len(a.conns)
		a.mu.Unlock()
		if n == 0 {
			break
		}
		a.pool.barrier()
	}
	return errors.Join(err, a.poller.(io.Closer).Close(), a.pool.close())
}

// article1Pool is the article's: a task goes to a worker that is waiting, or to
// a new one while there are fewer than the size, or it waits.
type article1Pool struct {
	work    chan func()
	sem     chan struct{} // as many as there may be workers
	workers sync.WaitGroup
}

func newArticle1Pool(size int) *article1Pool {
	return &article1Pool{work: make(chan func()), sem: make(chan struct{}, size)}
}

func (p *article1Pool) schedule(task func()) {
	select {
	case p.work <- task:
	case p.sem <- struct{}{}:
		p.workers.Go(func() { p.worker(task) }) // ends when close closes work
	}
}

// try is schedule, but reports false where that would wait.
func (p *article1Pool) try(task func()) bool {
	select {
	case p.work <- task:
		return true
	case p.sem <- struct{}{}:
		p.workers.Go(func() { p.worker(task) }) // ends when close closes work
		return true
	default:
		return false
	}
}

func (p *article1Pool) worker(task func()) {
	defer func() { <-p.sem }()
	for ok := true; ok; task, ok = <-p.work {
		task()
	}
}

// barrier waits until a worker was free.
func (p *article1Pool) barrier() {
	done := make(chan struct{})
	p.schedule(func() { close(done) })
	<-done
}

// close waits for the workers. Nothing may be scheduled any more.
func (p *article1Pool) close() error {
	close(p.work)
	p.workers.Wait()
	return nil
}

var (
	article1Readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, article1BufferBytes) }}
	article1Writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, article1BufferBytes) }}
)

// article1Channel is the article's Channel: one user's connection.
type article1Channel struct {
	conn net.Conn
	pool *article1Pool
	turn sync.Mutex // held while the descriptor is in use

	mu      sync.Mutex
	send    []ws.Frame // packets waiting for the writer
	writing bool       // a writer has been scheduled and not ended
}

// receive reads the packets that have arrived and handles each.
func (ch *article1Channel) receive() error {
	br := article1Readers.Get().(*bufio.Reader)
	br.Reset(ch.conn)
	defer func() {
		br.Reset(nil)
		article1Readers.Put(br)
	}()
	for {
		h, err := ws.ReadHeader(br)
		if err != nil {
			return err
		}
		if h.Length > article1MaxBytes || h.OpCode == ws.OpClose {
			return io.EOF
		}
		packet := make([]byte, h.Length)
		if _, err := io.ReadFull(br, packet); err != nil {
			return err
		}
		ws.Cipher(packet, h.Mask, 0)
		ch.reply(ws.NewFrame(h.OpCode, h.Fin, packet))
		if br.Buffered() == 0 {
			return nil
		}
	}
}

// reply is the article's Send.
func (ch *article1Channel) reply(frame ws.Frame) {
	ch.mu.Lock()
	ch.send = append(ch.send, frame)
	begin := !ch.writing
	ch.writing = true
	ch.mu.Unlock()
	if begin && !ch.pool.try(ch.writer) {
		ch.writer()
	}
}

// writer writes packets until there are none.
func (ch *article1Channel) writer() {
	bw := article1Writers.Get().(*bufio.Writer)
	bw.Reset(ch.conn)
	defer func() {
		bw.Reset(nil)
		article1Writers.Put(bw)
	}()
	for {
		ch.mu.Lock()
		packets := ch.send
		ch.send = nil
		if ch.writing = len(packets) > 0; !ch.writing {
			ch.mu.Unlock()
			return
		}
		ch.mu.Unlock()
		for _, frame := range packets {
			if err := ws.WriteFrame(bw, frame); err != nil {
				_ = ch.conn.(*net.TCPConn).CloseRead() // the reader then ends and closes
				break
			}
		}
		_ = bw.Flush()
	}
}
