package agent

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
)

func FuzzChunks(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03abc\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xffabc"))
	f.Add([]byte("\x00\x00\x00\x03a"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		got, err := io.ReadAll(&chunkReader{r: bufio.NewReader(bytes.NewReader(wire))})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v", err)
			}
			return
		}
		var again bytes.Buffer
		if err := sendChunks(&again, bytes.NewReader(got)); err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(&chunkReader{r: bufio.NewReader(&again)})
		if err != nil || !bytes.Equal(back, got) {
			t.Fatalf("%q, %v", back, err)
		}
	})
}
