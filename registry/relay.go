package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	relayReaders = 32 // answers of a relay under way at once; further ones wait

	// What a relay has by now, in bytes: of the blob asked for, and of all blobs of the session.
	haveHeader  = "Blob-Bytes"
	totalHeader = "Session-Bytes"
)

// relay hands the blobs of one session on to other hosts: those the store has, and those that arrive, while they arrive. It is for
// who knows its token, and lives as long as the session.
type relay struct {
	store   *Store
	table   []entry
	index   map[string]int // by hex digest
	info    relayInfo
	server  *http.Server
	readers chan struct{}

	mu      sync.Mutex
	blobs   []arrival
	total   int64         // bytes of all of them
	changed chan struct{} // closed when any of blobs changes
}

// arrival is how far a blob of the session is.
type arrival struct {
	whole bool
	path  string // of the file it is written to; "" before that
	bytes int64  // in that file
	tries int    // how often it arrived damaged, and began anew
}

// relayInfo is how a relay is reached and known. Address is filled in by the sender, who knows the host.
type relayInfo struct {
	address string
	port    int
	sum     [sha256.Size]byte // of the certificate
	token   [32]byte
}

func (rc *receiver) newRelay() *relay {
	r := &relay{
		store: rc.store, table: rc.table, index: make(map[string]int, len(rc.table)), readers: make(chan struct{}, relayReaders),
		blobs: make([]arrival, len(rc.table)), changed: make(chan struct{}),
	}
	for i, e := range rc.table {
		r.index[e.key.digest().Encoded()] = i
		if !rc.missing[i] {
			r.ends(i)
		}
	}
	return r
}

// open lets other hosts in.
func (r *relay) open() error {
	listen := r.store.Listen
	if listen == nil {
		listen = func() (net.Listener, error) { return net.Listen("tcp", ":0") }
	}
	pair, err := selfSigned()
	if err != nil {
		return fmt.Errorf("open relay: %w", err)
	}
	l, err := listen()
	if err != nil {
		return fmt.Errorf("open relay: %w", err)
	}
	_, _ = rand.Read(r.info.token[:])
	r.info.sum = sha256.Sum256(pair.Certificate[0])
	r.info.port = l.Addr().(*net.TCPAddr).Port
	r.server = &http.Server{Handler: r, ConnContext: withConn, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	tl := tls.NewListener(gatheringListener{l}, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	go func() { _ = r.server.Serve(tl) }()
	return nil
}

// selfSigned makes a certificate that is known by its digest and by nothing else.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(100, 0, 0)} // clocks of a site need not agree
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// change tells readers of how far a blob is. A nil relay takes it too: most sessions have none.
func (r *relay) change(i int, f func(a *arrival)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.has(i)
	f(&r.blobs[i])
	r.total += r.has(i) - before
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *relay) has(i int) int64 {
	if r.blobs[i].whole {
		return r.table[i].size
	}
	return r.blobs[i].bytes
}

func (r *relay) begins(i int, path string, bytes int64) {
	r.change(i, func(a *arrival) { a.path, a.bytes = path, bytes })
}

func (r *relay) grows(i, n int) { r.change(i, func(a *arrival) { a.bytes += int64(n) }) }

func (r *relay) ends(i int) { r.change(i, func(a *arrival) { a.whole = true }) }

func (r *relay) drops(i int) { r.change(i, func(a *arrival) { *a = arrival{tries: a.tries + 1} }) }

// look returns how far a blob is, how many bytes there are of all, and what is closed at the next change.
func (r *relay) look(i int) (a arrival, total int64, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a = r.blobs[i]
	a.bytes = r.has(i)
	return a, r.total, r.changed
}

func (r *relay) close() {
	if r != nil && r.server != nil {
		r.server.Close()
	}
}

// ServeHTTP answers GET /<hex digest>, from a byte on with a Range, and HEAD with the number of bytes there are.
func (r *relay) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	token := strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(token), []byte(hex.EncodeToString(r.info.token[:]))) != 1 {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	i, ok := r.index[strings.TrimPrefix(q.URL.Path, "/")]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	size := r.table[i].size
	a, total, _ := r.look(i)
	w.Header().Set(haveHeader, strconv.FormatInt(a.bytes, 10))
	w.Header().Set(totalHeader, strconv.FormatInt(total, 10))
	if q.Method == http.MethodHead {
		return
	}
	var at int64
	if text, ok := strings.CutPrefix(q.Header.Get("Range"), "bytes="); ok {
		n, err := strconv.ParseInt(strings.TrimSuffix(text, "-"), 10, 64)
		if err != nil || n < 0 || n >= size {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		at = n
	}
	select {
	case r.readers <- struct{}{}:
		defer func() { <-r.readers }()
	case <-q.Context().Done():
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size-at, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	if at > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if err := r.send(q.Context(), w, i, at); err != nil {
		panic(http.ErrAbortHandler) // the length was promised
	}
}

// send writes a blob from a byte on, as its bytes come.
func (r *relay) send(ctx context.Context, w http.ResponseWriter, i int, at int64) error {
	size := r.table[i].size
	var f *os.File
	defer func() { f.Close() }()
	first, _, _ := r.look(i)
	buf := make([]byte, relayPiece)
	for at < size {
		a, _, changed := r.look(i)
		if a.tries != first.tries {
			return ErrDamaged
		}
		if f == nil && (a.whole || a.bytes > at) {
			path := a.path
			if a.whole {
				path = r.store.path(blobData(r.table[i].key.digest()))
			}
			f, _ = os.Open(path) // it may just be given its name: then there is a change to come
		}
		if f != nil {
			n, err := f.ReadAt(buf[:min(int64(len(buf)), a.bytes-at)], at)
			if n > 0 {
				if err := writeThrough(ctx, w, buf[:n]); err != nil {
					return err
				}
				at += int64(n)
				continue
			}
			if err != nil && err != io.EOF {
				return err
			}
			if a.whole {
				return io.ErrUnexpectedEOF
			}
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// client returns one that speaks with the relay and with nobody else. Proxies in the environment are not used.
func (p relayInfo) client(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{Timeout: relayPatience}).DialContext
	}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return readAhead(c), nil
		},
		TLSHandshakeTimeout: relayPatience,
		DisableCompression:  true,
		MaxIdleConnsPerHost: fetchesAtOnce,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			InsecureSkipVerify: true, // the certificate is compared with the one the sender vouched for
			VerifyConnection: func(s tls.ConnectionState) error {
				if sha256.Sum256(s.PeerCertificates[0].Raw) != p.sum {
					return fmt.Errorf("host %s is not the one that opened the relay", p.address)
				}
				return nil
			},
		},
	}}
}

func (p relayInfo) request(ctx context.Context, method string, d digest.Digest) (*http.Request, error) {
	url := "https://" + net.JoinHostPort(p.address, strconv.Itoa(p.port)) + "/" + d.Encoded()
	q, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err == nil {
		q.Header.Set("Authorization", "Bearer "+hex.EncodeToString(p.token[:]))
	}
	return q, err
}
