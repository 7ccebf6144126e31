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
		TLSConfig:         config,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(os.Stderr, "registry: ", 0),
	}
	ended := make(chan error, 1)
	go func() {
		if config == nil {
			ended <- s.Serve(l)
		} else {
			ended <- s.ServeTLS(l, "", "")
		}
	}()
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

// quietLogs makes the logger that the distribution registry's storage writes to, which is one for the process, say warnings only,
// each on a line of its own.
var quietLogs = sync.OnceFunc(func() {
	logrus.SetLevel(logrus.WarnLevel)
	logrus.SetFormatter(&quietFormatter{})
})

type quietFormatter struct{ logrus.TextFormatter }

func (f *quietFormatter) Format(e *logrus.Entry) ([]byte, error) {
	return fmt.Appendf(nil, "registry: %s: %s\n", e.Level, e.Message), nil
}
