package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"weir/host"
)

// statuses are those of the codes.
var statuses = map[string]int{
	CodeInvalid:           http.StatusBadRequest,
	CodeUnauthorized:      http.StatusUnauthorized,
	CodeForbiddenHost:     http.StatusForbidden,
	CodeCrossOrigin:       http.StatusForbidden,
	CodeNotFound:          http.StatusNotFound,
	CodeUnknownModule:     http.StatusNotFound,
	CodeUnknownConnection: http.StatusNotFound,
	CodeMethodNotAllowed:  http.StatusMethodNotAllowed,
	CodeConflict:          http.StatusConflict,
	CodeOlder:             http.StatusConflict,
	CodeNoCanary:          http.StatusConflict,
	CodeNoPrevious:        http.StatusConflict,
	CodeShare:             http.StatusConflict,
	CodeClosing:           http.StatusConflict,
	CodeTooLarge:          http.StatusRequestEntityTooLarge,
	CodeRefused:           http.StatusUnprocessableEntity,
	CodeTooManyRequests:   http.StatusTooManyRequests,
	CodeFailed:            http.StatusInternalServerError,
	CodeQueueFull:         http.StatusServiceUnavailable,
	CodeUnavailable:       http.StatusServiceUnavailable,
}

// problem is an error of that code.
func problem(code, detail string) *Problem {
	status := statuses[code]
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// codes are those of errors that the server answers with.
var codes = []struct {
	err  error
	code string
}{
	{ErrUnavailable, CodeUnavailable},
	{ErrCanaryFile, CodeInvalid},
	{host.ErrUnknownModule, CodeUnknownModule},
	{host.ErrConflict, CodeConflict},
	{host.ErrNoCanary, CodeNoCanary},
	{host.ErrNoPrevious, CodeNoPrevious},
	{host.ErrShare, CodeShare},
	{host.ErrUnknownConn, CodeUnknownConnection},
	{host.ErrConnClosing, CodeClosing},
	{host.ErrQueueFull, CodeQueueFull},
	{host.ErrTooBig, CodeTooLarge},
	{host.ErrNotUTF8, CodeInvalid},
	{host.ErrCloseCode, CodeInvalid},
	{host.ErrTopicName, CodeInvalid},
	{host.ErrTailOptions, CodeInvalid},
	{host.ErrTooManyTails, CodeTooManyRequests},
}

// problemOf is err as it is answered.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		code := CodeRefused
		if errors.Is(err, host.ErrOlder) {
			code = CodeOlder
		}
		p := problem(code, inWords(refused))
		p.Stage, p.Problems = refused.Stage, refused.Problems
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(CodeTooLarge, "the body has more than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes")
	}
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return problem(known.code, inWords(err))
		}
	}
	return problem(CodeFailed, inWords(err))
}

// packages are those whose names begin the texts of their errors.
var packages = strings.NewReplacer("host: ", "", "admin: ", "", "runtime: ", "", "sign: ", "")

// inWords is an error for people who know weir from outside.
func inWords(err error) string { return packages.Replace(err.Error()) }

// deny answers with a problem.
func deny(w http.ResponseWriter, code, detail string) { answerProblem(w, problem(code, detail)) }

func answerProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	writeJSON(w, p.Status, p)
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, status, v)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}

// quoted is a text that somebody has sent, short enough to be told.
func quoted(s string) string { return strconv.Quote(short(s)) }

func short(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
