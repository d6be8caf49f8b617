// A source of QuickJS includes this header without using it, and the WASI C library has none.
