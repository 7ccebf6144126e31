package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"oras.land/oras-go/v2/registry/remote/auth"
	oras "oras.land/oras-go/v2/registry/remote/errcode"
)

// StatusError is a registry's refusal.
type StatusError struct {
	Host     string
	Registry string         // that was asked: the host, or whose tokens the host gives
	Status   int            // of HTTP
	Codes    errcode.Errors // what the registry says about it, if it does
	Text     string         // the beginning of an answer in another form
	Token    bool           // it is the server that gives the registry's tokens
	Expired  bool           // it refuses a token of who was served before
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s answers %d %s", e.Host, e.Status, http.StatusText(e.Status))
	switch {
	case len(e.Codes) > 0:
		text += ": " + e.Codes.Error()
	case e.Text != "":
		text += ": " + e.Text
	}
	return text
}

// BusyError is a registry that limits how often it is asked.
type BusyError struct {
	Host string
	Wait time.Duration // what it asks for; 0 when it does not say

	known bool // it asked for this before, and was left alone since
}

func (e *BusyError) Error() string {
	if e.Wait == 0 {
		return e.Host + " limits how often it is asked"
	}
	return fmt.Sprintf("%s limits how often it is asked, and wants to be left alone for %v", e.Host, e.Wait.Round(time.Second))
}

// maxErrorBody bounds what is read of an error's text.
const maxErrorBody = 8 << 10

// statusError reads a refusal. Bodies that are not a registry's are cut short.
func statusError(h *host, resp *http.Response) error {
	e := &StatusError{Host: h.name, Registry: h.name, Status: resp.StatusCode}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if json.Unmarshal(body, &e.Codes) != nil || len(e.Codes) == 0 {
		text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		if !strings.HasPrefix(text, "<") { // a page for people
			e.Text = text[:min(len(text), 200)]
		}
	}
	return e
}

// tokenError turns a refusal by the server that gives a registry's tokens, and the lack of a login, into errors of the same kind.
func tokenError(registry string, err error) error {
	refused := new(oras.ErrorResponse)
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return &StatusError{Host: registry, Registry: registry, Status: http.StatusUnauthorized}
	case !errors.As(err, &refused):
		return err
	case refused.StatusCode == http.StatusTooManyRequests:
		return &BusyError{Host: refused.URL.Host}
	}
	e := &StatusError{Host: refused.URL.Host, Registry: registry, Status: refused.StatusCode, Token: true}
	for _, c := range refused.Errors {
		e.Codes = append(e.Codes, errcode.ParseErrorCode(c.Code).WithMessage(c.Message))
	}
	return e
}

// limited notes a rate limit, for every request to the registry.
func (h *host) limited(resp *http.Response) error {
	after := resp.Header.Get("Retry-After")
	if resp.StatusCode != http.StatusTooManyRequests && (resp.StatusCode != http.StatusServiceUnavailable || after == "") {
		return nil
	}
	return &BusyError{Host: h.name, Wait: retryAfter(after, time.Now())}
}

// retryAfter reads both forms of the header, seconds and a date; 0 for none.
func retryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseInt(header, 10, 32); err == nil {
		return time.Duration(max(n, 0)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// drain lets a connection be used again when little is left to read.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxErrorBody)
	_ = body.Close()
}
