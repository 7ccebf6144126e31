package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/bundle"
)

// writes measures making the one file, and the same blobs by the tools that
// everybody has. The last bundle is left to the later parts.
func (b *bench) writes(ctx context.Context, measure bool) error {
	b.built.bundle = filepath.Join(b.dir, "sealinstall")
	if !measure {
		_, err := b.writeBundle(ctx)
		return err
	}
	var write, verified, peak, tar, zst series
	var tarSize, zstSize, fileSize, payloadSize, unique series
	var packed int64
	layout := filepath.Join(b.dir, "layout")
	defer os.RemoveAll(layout)
	for i := range b.runs {
		b.say("write, run %d of %d", i+1, b.runs)
		u, err := b.writeBundle(ctx, "--verify")
		if err != nil {
			return err
		}
		verified = append(verified, u.seconds)
		if u, err = b.writeBundle(ctx); err != nil {
			return err
		}
		write, peak = append(write, u.seconds), append(peak, u.peak)
		if i == 0 {
			if packed, err = b.unpack(ctx, layout); err != nil {
				return err
			}
		}
		s, err := b.sizes()
		if err != nil {
			return err
		}
		fileSize, payloadSize = append(fileSize, float64(s.file)/1e6), append(payloadSize, float64(s.payload)/1e6)
		unique = append(unique, float64(s.stored+packed)/1e6)
		u, n, err := b.archive(ctx, "layout.tar", `tar -C "$1" -cf "$2" . && sync "$2"`, layout)
		if err != nil {
			return err
		}
		tar, tarSize = append(tar, u.seconds), append(tarSize, float64(n)/1e6)
		u, n, err = b.archive(ctx, "layout.tar.zst", `tar -C "$1" -c . | zstd -q -T0 -o "$2" && sync "$2"`, layout)
		if err != nil {
			return err
		}
		zst, zstSize = append(zst, u.seconds), append(zstSize, float64(n)/1e6)
	}
	t := &b.table
	t.command = "sealbuild bundle of the four images: blobs from the store, hashed, compressed where they are not, fsync"
	t.add("write/bundle", "s", write)
	t.add("write/bundle-peak-memory", "MiB", peak)
	t.command = "the same with --verify: every byte is read back from the disk"
	t.add("write/bundle-verified", "s", verified)
	t.command = "tar -cf of the same blobs as the bundle's payload unpacks to (sync at the end)"
	t.add("write/tar", "s", tar)
	t.add("write/tar-size", "MB", tarSize)
	t.add("write/bundle-to-tar", "ratio", ratios(write, tar))
	t.command = "tar -c | zstd -T0 (level 3, sync at the end) of the same"
	t.add("write/tar-zstd", "s", zst)
	t.add("write/tar-zstd-size", "MB", zstSize)
	t.add("write/bundle-to-tar-zstd", "ratio", ratios(write, zst))
	t.command = "payload = file without the stub; unique blobs = compressed ones as they are, each other by zstd -3 alone"
	t.add("write/bundle-size", "MB", fileSize)
	t.add("write/payload-size", "MB", payloadSize)
	t.add("write/unique-blobs-size", "MB", unique)
	t.add("write/payload-to-unique-blobs", "ratio", ratios(payloadSize, unique))
	return nil
}

func (b *bench) writeBundle(ctx context.Context, flags ...string) (usage, error) {
	argv := append([]string{b.sealbuild(), "bundle", "-o", b.built.bundle}, flags...)
	for _, i := range images {
		argv = append(argv, i.name)
	}
	if err := os.RemoveAll(b.built.bundle); err != nil {
		return usage{}, err
	}
	return execute(ctx, b.dir, b.env(), argv...)
}

// archive makes one file with a pipeline and returns its size; the file goes.
func (b *bench) archive(ctx context.Context, name, line, layout string) (usage, int64, error) {
	path := filepath.Join(b.dir, name)
	defer os.Remove(path)
	u, err := shell(ctx, b.dir, line, layout, path)
	if err != nil {
		return u, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return u, 0, err
	}
	return u, info.Size(), nil
}

// unpack unpacks the payload with common tools only, and returns what the blobs
// that were not compressed before take when each is compressed alone.
func (b *bench) unpack(ctx context.Context, layout string) (int64, error) {
	f, err := bundle.OpenFile(b.built.bundle)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := os.Mkdir(layout, 0o755); err != nil {
		return 0, err
	}
	if _, err := shell(ctx, b.dir, `tail -c "+$1" "$2" | zstd -qdc | tar -x -C "$3"`, strconv.FormatInt(f.PayloadOffset()+1, 10), b.built.bundle, layout); err != nil {
		return 0, err
	}
	args := []string{}
	for _, i := range f.Blobs() {
		if !i.Stored {
			args = append(args, filepath.Join(layout, "blobs", i.Digest.Algorithm().String(), i.Digest.Encoded()))
		}
	}
	u, err := shell(ctx, b.dir, `for f; do zstd -q -T0 -c "$f"; done | wc -c`, args...)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(u.output), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("sizes of compressed blobs: %w", err)
	}
	return n, nil
}

// size is where the bytes of the bundle go.
type size struct{ file, payload, stored int64 }

func (b *bench) sizes() (size, error) {
	info, err := os.Stat(b.built.bundle)
	if err != nil {
		return size{}, err
	}
	f, err := bundle.OpenFile(b.built.bundle)
	if err != nil {
		return size{}, err
	}
	defer f.Close()
	s := size{file: info.Size(), payload: info.Size() - f.PayloadOffset()}
	for _, i := range f.Blobs() {
		if i.Stored {
			s.stored += i.Size
		}
	}
	return s, nil
}

// ratios divides run by run: what ran together shared the machine's mood.
func ratios(a, b series) series {
	var r series
	for i := range min(len(a), len(b)) {
		r = append(r, a[i]/b[i])
	}
	return r
}
