package host

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// pieces counts the writes that a stream comes in.
type pieces struct {
	bytes.Buffer
	n int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.n++
	return p.Buffer.Write(b)
}

func TestLongInputsComeInLargePieces(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var got pieces
	if err := feed(&got, bytes.NewReader(long)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), long) || got.n > 1+len(long)/largePiece {
		t.Errorf("%d bytes of %d in %d pieces", got.Len(), len(long), got.n)
	}
}

func TestWhatCameBeforeAnErrorIsPassedOn(t *testing.T) {
	failed := errors.New("the reader failed")
	var got pieces
	err := feed(&got, io.MultiReader(bytes.NewReader([]byte("before")), iotest.ErrReader(failed)))
	if got.String() != "before" || !errors.Is(err, failed) {
		t.Errorf("%q, %v", got.String(), err)
	}
}
