// Compiles AssemblyScript again and again: a line of JSON on stdin is what to compile, a line on stdout is what came of it.
// It ends with stdin. The argument is the path of the compiler.
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const { default: asc } = await import(pathToFileURL(process.argv[1]));

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { folder, args } = JSON.parse(line);
  process.chdir(folder);
  const { error, stdout, stderr } = await asc.main(args);
  process.stdout.write(JSON.stringify({ ok: error === null, said: stdout.toString() + stderr.toString() }) + "\n");
}
