package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/test/upstream"
)

// The input of the pull measurements: what a cluster needs, and applications
// of three layers of which one is shared by four.
const (
	madeImages   = 40
	madeShared   = 10
	madeLayer    = 16 << 20 // unpacked: half random, half text
	madeDomain   = "bench.example.com"
	inputVersion = "1" // of this generator
)

// realImages are those of the Kubernetes control plane and its network's DNS.
var realImages = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "coredns/coredns", "pause"}

// input is a registry's data directory and the references that are to be
// pulled from it.
type input struct {
	data string
	refs []string // of linux/amd64, without the registry's address
}

// makeInput makes the input once, outside the tree, and is quick from then on.
func makeInput(ctx context.Context, tree upstream.Tree, made int) (in input, err error) {
	raw, err := os.ReadFile(filepath.Join(tree.Images(), v1.ImageIndexFile))
	if err != nil {
		return input{}, err
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return input{}, err
	}
	for _, m := range index.Manifests {
		name := m.Annotations[v1.AnnotationRefName]
		for _, want := range realImages {
			if strings.HasPrefix(name, "registry.k8s.io/"+want+":") {
				in.refs = append(in.refs, name)
			}
		}
	}
	if len(in.refs) != len(realImages) {
		return input{}, fmt.Errorf("%s holds %d of the images of Kubernetes, want %d", tree.Images(), len(in.refs), len(realImages))
	}
	for i := range made {
		in.refs = append(in.refs, fmt.Sprintf("%s/team/app-%02d:v1", madeDomain, i))
	}
	key := sha256.Sum256(fmt.Appendf(raw, "%s %d", inputVersion, made))
	in.data = filepath.Join(filepath.Dir(string(tree)), fmt.Sprintf("bench-%x", key[:8]))
	if _, err := os.Stat(in.data); err == nil {
		return in, nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(in.data), ".bench-")
	if err != nil {
		return input{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := fillRegistry(ctx, tmp, tree, in.refs, made); err != nil {
		return input{}, fmt.Errorf("make the input: %w", err)
	}
	return in, os.Rename(tmp, in.data)
}

func fillRegistry(ctx context.Context, data string, tree upstream.Tree, refs []string, made int) (err error) {
	r, err := startRegistry(ctx, data, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	for _, ref := range refs[:len(realImages)] {
		_, err := execute(ctx, data, nil, "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests",
			"--dest-tls-verify=false", "oci:"+tree.Images()+":"+ref, "docker://"+r.addr+"/"+ref)
		if err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i := range made {
		g.Go(func() error { return r.pushMade(ctx, i) })
	}
	return g.Wait()
}

// pushMade makes application i and uploads it.
func (r *registryProcess) pushMade(ctx context.Context, i int) error {
	repository := fmt.Sprintf("%s/team/app-%02d", madeDomain, i)
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers"}}
	config.Author = fmt.Sprint("application ", i)
	for _, seed := range []uint64{uint64(i % madeShared), uint64(1000 + 2*i), uint64(1001 + 2*i)} {
		layer, diffID, err := madeLayerOf(seed)
		if err != nil {
			return err
		}
		d, err := r.pushBlob(ctx, repository, v1.MediaTypeImageLayerGzip, layer)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if m.Config, err = r.pushBlob(ctx, repository, v1.MediaTypeImageConfig, raw); err != nil {
		return err
	}
	if raw, err = json.Marshal(m); err != nil {
		return err
	}
	return r.put(ctx, "/v2/"+repository+"/manifests/v1", m.MediaType, raw)
}

// madeLayerOf is a layer of one file: half random bytes, half text.
func madeLayerOf(seed uint64) (layer []byte, diffID digest.Digest, err error) {
	random := rand.New(rand.NewPCG(seed, 1))
	content := make([]byte, madeLayer)
	half := len(content) / 2
	for i := range half {
		content[i] = byte(random.Uint32())
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := half; i < len(content); i++ {
		content[i] = letters[random.Uint32()%uint32(len(letters))]
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	plain := sha256.New()
	t := tar.NewWriter(io.MultiWriter(z, plain))
	if err := t.WriteHeader(&tar.Header{Name: fmt.Sprintf("data-%d", seed), Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return nil, "", err
	}
	if _, err := t.Write(content); err != nil {
		return nil, "", err
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, "", err
	}
	return packed.Bytes(), digest.NewDigest(digest.SHA256, plain), nil
}

// registryProcess is Debian's docker-registry over a data directory.
type registryProcess struct {
	addr   string
	cmd    *exec.Cmd
	ended  chan error
	output tail
	config string
	client *http.Client
}

// startRegistry serves data at a free port of 127.0.0.1 until stop.
func startRegistry(ctx context.Context, data string, writable bool) (*registryProcess, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registryProcess{addr: l.Addr().String(), ended: make(chan error, 1), client: newClient()}
	if err := l.Close(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "sealbuild-bench-registry-*.yml")
	if err != nil {
		return nil, err
	}
	r.config = f.Name()
	_, err = fmt.Fprintf(f, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  maintenance: {readonly: {enabled: %t}, uploadpurging: {enabled: false}}
http: {addr: %q}
`, data, !writable, r.addr)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	r.cmd = exec.CommandContext(ctx, "docker-registry", "serve", r.config)
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	r.cmd.WaitDelay = 10 * time.Second
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { r.ended <- r.cmd.Wait() }()
	if err := r.await(ctx); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

func (r *registryProcess) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/v2/", http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := r.client.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case err := <-r.ended:
			r.ended <- err
			return fmt.Errorf("docker-registry ended: %w\n%s", err, r.output.String())
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (r *registryProcess) stop() error {
	r.client.CloseIdleConnections()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	<-r.ended // by the signal just sent: its status says nothing
	return os.Remove(r.config)
}

func (r *registryProcess) pushBlob(ctx context.Context, repository, mediaType string, data []byte) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.addr+"/v2/"+repository+"/blobs/uploads/", http.NoBody)
	if err != nil {
		return d, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return d, err
	}
	_ = resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		return d, fmt.Errorf("upload to %s: %s: %w", repository, resp.Status, err)
	}
	query := to.Query()
	query.Set("digest", d.Digest.String())
	return d, r.put(ctx, to.Path+"?"+query.Encode(), "application/octet-stream", data)
}

func (r *registryProcess) put(ctx context.Context, path, mediaType string, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+r.addr+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("PUT %s: %s %s", path, resp.Status, text)
	}
	return nil
}
