package peers

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/cloudwego/netpoll"
	"github.com/gorilla/websocket"
)

// article2Upgrader has the second article's buffer sizes.
var article2Upgrader = websocket.Upgrader{
	ReadBufferSize:  8192,
	WriteBufferSize: 8192,
	CheckOrigin:     func(*http.Request) bool { return true },
}

// startArticle2Sync is the second article's first shape: read and write in turn.
// Its printing of each message is left out, here and below: it would be most of
// what is measured.
func startArticle2Sync(address string) (Server, error) {
	return startHTTP(address, gorillaEcho(&article2Upgrader), nil, nil)
}

// startArticle2Channel is its second shape: a goroutine that reads, one that
// writes, a channel between them, and the handler's own that waits.
func startArticle2Channel(address string) (Server, error) {
	return startHTTP(address, article2Channel, nil, nil)
}

func article2Channel(s *httpServer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := article2Upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		if !s.enter(c.NetConn()) {
			return
		}
		defer s.leave(c.NetConn())
		messages := make(chan []byte)
		written := make(chan struct{})
		go func() { // ends when the connection does
			defer close(messages)
			for {
				_, message, err := c.ReadMessage()
				if err != nil {
					return
				}
				messages <- message
			}
		}()
		go func() { // ends when the reader has closed messages
			defer close(written)
			for message := range messages {
				if err := c.WriteMessage(websocket.BinaryMessage, message); err != nil {
					_ = c.Close() // the reader then ends; what it still sends is dropped
				}
			}
		}()
		<-written // the article waits for ever, and keeps every connection it ever had
	}
}

// article2Netpoll is its third shape, made to work. The article creates a
// cloudwego poller for each connection and then does not use it. Here the
// library's event loop accepts and reads, gorilla speaks WebSocket over its
// connections, and an idle connection owns no goroutine.
type article2Netpoll struct {
	ln   net.Listener
	loop netpoll.EventLoop
	done chan error
}

func startArticle2Netpoll(address string) (Server, error) {
	ln, err := netpoll.CreateListener("tcp", address)
	if err != nil {
		return nil, err
	}
	prepare := func(netpoll.Connection) context.Context {
		return context.WithValue(context.Background(), article2Key{}, new(article2Conn))
	}
	loop, err := netpoll.NewEventLoop(article2Request, netpoll.WithOnPrepare(prepare))
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	a := &article2Netpoll{ln: ln, loop: loop, done: make(chan error)}
	go func() { a.done <- loop.Serve(ln) }() // ends when Close shuts the loop down
	return a, nil
}

// Addr implements Server.
func (a *article2Netpoll) Addr() net.Addr { return a.ln.Addr() }

// Close implements Server. The library's poller stays: it belongs to the
// process.
func (a *article2Netpoll) Close() error {
	return errors.Join(a.loop.Shutdown(context.Background()), <-a.done)
}

type article2Key struct{}

// article2Conn is the state of one connection; c is nil before the upgrade.
type article2Conn struct {
	c  *websocket.Conn
	br *bufio.Reader // c reads from it
}

// article2Request is called when bytes have arrived, never twice at a time for
// one connection, and goes on while there are any.
func article2Request(ctx context.Context, conn netpoll.Connection) error {
	s := ctx.Value(article2Key{}).(*article2Conn)
	if s.c == nil {
		if err := s.upgrade(conn); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	for s.br.Buffered() > 0 || conn.Reader().Len() > 0 {
		kind, message, err := s.c.ReadMessage()
		if err == nil {
			err = s.c.WriteMessage(kind, message)
		}
		if err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	return nil
}

// upgrade lets gorilla answer the request, and keep the reader it was read with.
func (s *article2Conn) upgrade(conn netpoll.Connection) error {
	s.br = bufio.NewReaderSize(conn, article2Upgrader.ReadBufferSize)
	r, err := http.ReadRequest(s.br)
	if err != nil {
		return err
	}
	u := article2Upgrader
	u.ReadBufferSize = 0 // means: take the hijacked reader
	bw := bufio.NewWriterSize(conn, u.WriteBufferSize)
	u.WriteBufferSize = 0 // means: take the hijacked writer's buffer
	s.c, err = u.Upgrade(&hijacked{conn: conn, rw: bufio.NewReadWriter(s.br, bw)}, r, nil)
	return err
}

// hijacked is the least http.ResponseWriter that can be upgraded.
type hijacked struct {
	conn net.Conn
	rw   *bufio.ReadWriter
}

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, h.rw, nil }

// Header implements http.ResponseWriter; nothing but an error response uses it.
func (h *hijacked) Header() http.Header { return make(http.Header) }

// WriteHeader implements http.ResponseWriter.
func (h *hijacked) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (h *hijacked) Write(p []byte) (int, error) { return len(p), nil }
