package main

import (
	"context"
	"os"
	"runtime"
	"strconv"

	"github.com/sealbuild/sealbuild/bundle"
)

// reads measures reading all of the bundle: by its own verify, by openssl's
// SHA-256 of the same file, and by the zstd of the system. The three take
// turns, so that they share the machine's mood.
func (b *bench) reads(ctx context.Context) error {
	info, err := os.Stat(b.built.bundle)
	if err != nil {
		return err
	}
	f, err := bundle.OpenFile(b.built.bundle)
	if err != nil {
		return err
	}
	offset, decoded := f.PayloadOffset(), int64(0)
	for _, i := range f.Blobs() {
		decoded += i.Size
	}
	if err := f.Close(); err != nil {
		return err
	}
	cores := float64(runtime.NumCPU())
	file, content := float64(info.Size())/1e6, float64(decoded)/1e6
	var verify, verifyContent, peak, openssl, share, zstd series
	for i := range b.runs {
		b.say("read, run %d of %d", i+1, b.runs)
		v, err := execute(ctx, b.dir, nil, b.built.bundle, "verify")
		if err != nil {
			return err
		}
		o, err := execute(ctx, b.dir, nil, "openssl", "dgst", "-sha256", b.built.bundle)
		if err != nil {
			return err
		}
		z, err := shell(ctx, b.dir, `tail -c "+$1" "$2" | zstd -qdc >/dev/null`, strconv.FormatInt(offset+1, 10), b.built.bundle)
		if err != nil {
			return err
		}
		verify, verifyContent = append(verify, file/v.seconds), append(verifyContent, content/v.seconds)
		peak = append(peak, v.peak)
		openssl = append(openssl, file/o.seconds)
		share = append(share, o.seconds/v.seconds/cores)
		zstd = append(zstd, content/z.seconds)
	}
	t := &b.table
	t.command = "./sealinstall verify (whole process); every byte of the file, and every blob as it unpacks; page cache warm"
	t.add("read/verify", "MB/s of file", verify)
	t.add("read/verify-content", "MB/s unpacked", verifyContent)
	t.add("read/verify-peak-memory", "MiB", peak)
	t.command = "openssl dgst -sha256 of the same file, on one core"
	t.add("read/openssl", "MB/s of file", openssl)
	t.command = "verify's rate divided by openssl's rate times cores, run by run; verify also hashes what it unpacks"
	t.add("read/verify-to-openssl-cores", "ratio", share)
	t.command = "tail -c +N sealinstall | zstd -dc >/dev/null"
	t.add("read/zstd", "MB/s unpacked", zstd)
	return nil
}
