package layers_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/layers"
)

func TestEveryFormatIsVerified(t *testing.T) {
	layer := layers.Archive(t, layers.Entry{Name: "a", Body: strings.Repeat("x", 3<<20)})
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(layer)
	g.Close()
	z, _ := zstd.NewWriter(nil)
	for part := range slices.Chunk(layer, 1<<20) { // independent frames, as in a bundle
		zs.Write(z.EncodeAll(part, nil))
	}
	zs.Write([]byte{0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3}) // a skippable frame
	for format, body := range map[string][]byte{"tar": layer, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		t.Run(format, func(t *testing.T) {
			a := agenttest.Local(t)
			req := agent.UnpackRequest{Dir: t.TempDir(), Digest: digest.FromBytes(layer), Size: int64(len(layer)), Format: format}
			if err := a.Unpack(t.Context(), req, bytes.NewReader(body)); err != nil {
				t.Fatal(err)
			}
			for name, bad := range map[string]func(*agent.UnpackRequest) []byte{
				"cut":          func(*agent.UnpackRequest) []byte { return body[:len(body)/2] },
				"other digest": func(r *agent.UnpackRequest) []byte { r.Digest = digest.FromString("other"); return body },
				"too long":     func(r *agent.UnpackRequest) []byte { r.Size = 1 << 20; return body },
				"too short":    func(r *agent.UnpackRequest) []byte { r.Size = 100 << 20; return body },
			} {
				req := req
				req.Dir = t.TempDir()
				err := a.Unpack(t.Context(), req, bytes.NewReader(bad(&req)))
				var e *agent.Error
				if !errors.As(err, &e) || e.Verb != agent.VerbUnpack {
					t.Errorf("%s: %v", name, err)
				}
				if have, begun, err := layers.Lie(req.Dir); err != nil || len(have) > 0 || begun != req.Digest {
					t.Errorf("%s: it is said to hold %v and %s, %v", name, have, begun, err)
				}
			}
		})
	}
}

// BenchmarkUnpack unpacks a layer of 64 MiB in 1 MiB files, sent as zstd of ratio 2, over a real sshd.
func BenchmarkUnpack(b *testing.B) {
	random := rand.NewChaCha8([32]byte{})
	body := make([]byte, 1<<20)
	var entries []layers.Entry
	for i := range 64 {
		random.Read(body[:len(body)/2])
		entries = append(entries, layers.Entry{Name: fmt.Sprintf("dir%d/file%d", i%8, i), Body: string(body)})
	}
	layer := layers.Archive(b, entries...)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		b.Fatal(err)
	}
	wire := z.EncodeAll(layer, nil)
	a := agenttest.OverSSHD(b)
	b.SetBytes(int64(len(layer)))
	for b.Loop() {
		req := agent.UnpackRequest{Dir: b.TempDir(), Digest: digest.FromBytes(layer), Format: "zstd"}
		if err := a.Unpack(b.Context(), req, bytes.NewReader(wire)); err != nil {
			b.Fatal(err)
		}
	}
}
