// Package upstreamtest runs a real registry on loopback for tests, behind a
// proxy that counts what is asked and misbehaves on request.
package upstreamtest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// Upstream is a real registry behind a proxy that counts, and misbehaves on
// request.
type Upstream struct {
	Host   string // host:port
	CACert []byte // PEM, of a registry that speaks TLS

	url    string
	server *httptest.Server
	login  *url.Userinfo
	client *http.Client
	mu     sync.Mutex
	count  map[string]int                                    // "GET blob", "GET manifest", …
	before func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

// New starts a registry that ends with the test. It speaks plain HTTP and
// serves everybody.
func New(t testing.TB) *Upstream {
	t.Helper()
	return start(t, configuration.Auth{}, httptest.NewServer)
}

// NewSecure starts a registry that speaks TLS with a certificate of its own
// authority, and serves those who log in.
func NewSecure(t testing.TB, user, password string) *Upstream {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600); err != nil {
		t.Fatal(err)
	}
	u := start(t, configuration.Auth{"htpasswd": configuration.Parameters{"realm": "test", "path": file}}, httptest.NewTLSServer)
	u.login = url.UserPassword(user, password)
	return u
}

func start(t testing.TB, access configuration.Auth, listen func(http.Handler) *httptest.Server) *Upstream {
	t.Helper()
	logrus.SetLevel(logrus.PanicLevel) // the registry logs every request
	slog.SetDefault(slog.New(slog.DiscardHandler))
	config := &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": configuration.Parameters{}},
		Auth:    access,
	}
	config.Validation.Manifests.URLs.Allow = []string{"."} // of layers that lie elsewhere
	app := handlers.NewApp(t.Context(), config)
	u := &Upstream{count: map[string]int{}}
	srv := listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := "other"
		switch {
		case strings.Contains(r.URL.Path, "/blobs/"):
			kind = "blob"
		case strings.Contains(r.URL.Path, "/manifests/"):
			kind = "manifest"
		}
		u.mu.Lock()
		u.count[r.Method+" "+kind]++
		before := u.before
		u.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		app.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	u.server, u.url, u.client = srv, srv.URL, srv.Client()
	_, u.Host, _ = strings.Cut(srv.URL, "://")
	if c := srv.Certificate(); c != nil {
		u.CACert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return u
}

// Counts returns what was asked since the last call.
func (u *Upstream) Counts() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.count
	u.count = map[string]int{}
	return c
}

// Misbehave gives requests to f first; those it answers go no further. nil
// ends it.
func (u *Upstream) Misbehave(f func(w http.ResponseWriter, r *http.Request) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.before = f
}

// Close ends the registry before the test ends: nobody listens at its address any more.
func (u *Upstream) Close() { u.server.Close() }

// Ref is the full reference of an image here.
func (u *Upstream) Ref(name string) string { return u.Host + "/" + name }

// System is a configuration that reaches the registry and reads no file of
// the machine.
func (u *Upstream) System() *types.SystemContext {
	return &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		SystemRegistriesConfPath:    "/dev/null",
		SystemRegistriesConfDirPath: "/nonexistent",
		AuthFilePath:                "/nonexistent",
	}
}

func (u *Upstream) put(t testing.TB, path, mediaType string, body []byte) {
	t.Helper()
	res := u.send(t, http.MethodPut, path, mediaType, body)
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(res.Body)
		t.Fatalf("PUT %s: %s %s", path, res.Status, text)
	}
}

func (u *Upstream) send(t testing.TB, method, path, mediaType string, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	if u.login != nil {
		password, _ := u.login.Password()
		req.SetBasicAuth(u.login.Username(), password)
	}
	res, err := u.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// PushBlob uploads a blob, and describes it without a media type.
func (u *Upstream) PushBlob(t testing.TB, repo string, data []byte) v1.Descriptor {
	t.Helper()
	res := u.send(t, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", "", nil)
	res.Body.Close()
	d := digest.FromBytes(data)
	loc, err := res.Location()
	if err != nil {
		t.Fatal(err)
	}
	q := loc.Query()
	q.Set("digest", d.String())
	u.put(t, loc.Path+"?"+q.Encode(), "application/octet-stream", data)
	return v1.Descriptor{Digest: d, Size: int64(len(data))}
}

// PushImage uploads an image for a platform and returns its manifest's
// descriptor. tag may be empty: it is then only known by its digest.
func (u *Upstream) PushImage(t testing.TB, repo, tag string, p v1.Platform, layers ...[]byte) v1.Descriptor {
	t.Helper()
	var all []v1.Descriptor
	var diffIDs []digest.Digest
	for _, l := range layers {
		d := u.PushBlob(t, repo, l)
		d.MediaType = v1.MediaTypeImageLayerGzip
		all = append(all, d)
		diffIDs = append(diffIDs, diffID(l))
	}
	return u.PushLayers(t, repo, tag, v1.Image{Platform: p, RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs}}, all...)
}

// PushLayers uploads an image of the given layers, which the registry may lack, and of a config that may say anything.
func (u *Upstream) PushLayers(t testing.TB, repo, tag string, config v1.Image, layers ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: layers}
	m.Config = u.PushBlob(t, repo, encode(t, config))
	m.Config.MediaType = v1.MediaTypeImageConfig
	d := u.PushManifest(t, repo, tag, m.MediaType, m)
	d.Platform = &config.Platform
	return d
}

// PushManifest uploads a document as a manifest. tag may be empty.
func (u *Upstream) PushManifest(t testing.TB, repo, tag, mediaType string, doc any) v1.Descriptor {
	t.Helper()
	raw := encode(t, doc)
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if tag == "" {
		tag = d.Digest.String()
	}
	u.put(t, "/v2/"+repo+"/manifests/"+tag, mediaType, raw)
	return d
}

// diffID is the digest of what a compressed layer holds; of one that is none,
// its own.
func diffID(layer []byte) digest.Digest {
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		return digest.FromBytes(layer)
	}
	d, err := digest.FromReader(z)
	if err != nil {
		return digest.FromBytes(layer)
	}
	return d
}

// PushIndex uploads an index of images.
func (u *Upstream) PushIndex(t testing.TB, repo, tag string, children ...v1.Descriptor) digest.Digest {
	t.Helper()
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children}
	return u.PushManifest(t, repo, tag, v1.MediaTypeImageIndex, index).Digest
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Layer is n bytes that no other seed gives.
func Layer(seed string, n int) []byte {
	noise := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(noise)
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
	z.Write(noise)
	z.Close()
	return b.Bytes()
}
