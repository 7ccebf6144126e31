package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// drainTime is how long requests under way may go on when the server is told to end.
const drainTime = 10 * time.Second

// Serve answers at addr until ctx ends, with TLS if a configuration is given. ready, if not nil, is called with the address once
// connections are accepted. It returns nil when ctx ended.
func Serve(ctx context.Context, addr string, config *tls.Config, h http.Handler, ready func(net.Addr)) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("serve registry: %w", err)
	}
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(os.Stderr, "registry: ", 0),
	}
	served := l
	if config != nil {
		config = config.Clone()
		if len(config.NextProtos) == 0 {
			config.NextProtos = []string{"h2", "http/1.1"}
		}
		served = tls.NewListener(l, config)
		s.TLSConfig = config
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(served) }()
	if ready != nil {
		ready(l.Addr())
	}
	select {
	case err := <-ended:
		return fmt.Errorf("serve registry: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := s.Shutdown(drain); err != nil {
		s.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve registry: %w", err)
	}
	return nil
}

// quietLogs makes the distribution registry's logger, which is one for the process, say warnings only. It calls every request
// for something that is not there an error; clients ask for such things all day.
var quietLogs = sync.OnceFunc(func() {
	logrus.SetLevel(logrus.WarnLevel)
	logrus.SetFormatter(&quietFormatter{})
})

type quietFormatter struct{ logrus.TextFormatter }

func (f *quietFormatter) Format(e *logrus.Entry) ([]byte, error) {
	switch fmt.Sprint(e.Data["err.code"]) {
	case "manifest unknown", "blob unknown", "name unknown", "name invalid", "digest invalid", "pagination number invalid", "unsupported":
		return nil, nil
	}
	line := fmt.Sprintf("registry: %s: %s", e.Level, e.Message)
	for _, field := range []string{"http.request.method", "http.request.uri", "err.message", "err.detail"} {
		if v, ok := e.Data[field]; ok {
			line += fmt.Sprintf(" %v", v)
		}
	}
	return []byte(line + "\n"), nil
}
