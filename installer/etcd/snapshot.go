package etcd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"
)

// snapshotPatience is how long a member may send nothing of a snapshot. A large database on a slow disk takes its time, but it
// comes in pieces.
const snapshotPatience = 30 * time.Second

// maxPiece bounds a line of a snapshot: etcd sends 32 KiB in each, in base64.
const maxPiece = 1 << 20

// Snapshot has the member at the endpoint send its database, as etcdctl's snapshot save keeps it: the database, and then its sha256
// in 32 bytes, which etcdutl checks before it restores. start is called once, before the first byte, with how many bytes
// follow, and gives what they are written to. The result is without error only if all of them came and the sum is right.
func (c *Client) Snapshot(ctx context.Context, start func(bytes int64) (io.Writer, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(c.silence, func() { cancel(fmt.Errorf("nothing came from %s for %s", c.endpoint, c.silence)) })
	defer watch.Stop()
	resp, err := c.send(ctx, http.MethodPost, c.endpoint, "/v3/maintenance/snapshot", `{}`)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxPiece)) // the status says enough
		return refusal(c.endpoint, resp, data)
	}
	in := receiver{start: start}
	pieces := bufio.NewReaderSize(resp.Body, maxPiece)
	for {
		watch.Reset(c.silence)
		line, err := pieces.ReadSlice('\n')
		watch.Stop() // while it is written, the disk is slow and not the member
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if wrong := in.take(line); wrong != nil {
				return wrong
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return in.end()
		case err != nil:
			return fmt.Errorf("the snapshot broke off after %d of %d bytes: %w", in.got, in.total, err)
		}
	}
}

// receiver takes the pieces of a snapshot.
type receiver struct {
	start      func(bytes int64) (io.Writer, error)
	to         io.Writer
	got, total int64 // bytes of the database
	hash       hash.Hash
	whole      bool // the sum has come, and is right
}

func (r *receiver) take(line []byte) error {
	var piece struct {
		Result struct {
			Remaining number `json:"remaining_bytes"`
			Blob      []byte `json:"blob"`
		} `json:"result"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(line, &piece); err != nil {
		return fmt.Errorf("the snapshot broke off after %d of %d bytes: %w", r.got, r.total, err)
	}
	if len(piece.Error) > 0 {
		return fmt.Errorf("etcd broke the snapshot off after %d of %d bytes: %s", r.got, r.total, decodeRefusal("no cause", piece.Error))
	}
	blob, remaining := piece.Result.Blob, int64(piece.Result.Remaining.value())
	if r.to == nil {
		if remaining < 0 || len(blob) == 0 {
			return fmt.Errorf("etcd announces a database of %d bytes", remaining)
		}
		r.total, r.hash = int64(len(blob))+remaining, sha256.New()
		to, err := r.start(r.total + sha256.Size)
		if err != nil {
			return err
		}
		r.to = to
	}
	switch {
	case r.got < r.total:
		if r.got+int64(len(blob))+remaining != r.total {
			return fmt.Errorf("etcd announced %d bytes of a database, and now %d", r.total, r.got+int64(len(blob))+remaining)
		}
		r.got += int64(len(blob))
		r.hash.Write(blob)
	case r.whole:
		return errors.New("etcd sends more than the database and its sum")
	case len(blob) != sha256.Size || !bytes.Equal(blob, r.hash.Sum(nil)):
		return fmt.Errorf("the database that came is not the one that was sent: its sha256 is %x, and etcd says %x", r.hash.Sum(nil), blob)
	default:
		r.whole = true
	}
	_, err := r.to.Write(blob)
	return err
}

func (r *receiver) end() error {
	if !r.whole {
		return fmt.Errorf("the snapshot ended after %d of %d bytes, without its sum", r.got, r.total)
	}
	return nil
}
