package storesync

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignsOfLifeAreGivenWhileASideWorksAndPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		var alive atomic.Bool
		fw := newFrameWriter(w)
		stop := giveSigns(t.Context(), fw, alive.Load)
		counted := &countedReads{r: r}
		type frame struct {
			t       frameType
			payload []byte
		}
		frames := make(chan frame)
		fr := newFrameReader(counted)
		go func() {
			defer close(frames)
			for {
				if _, err := fr.peek(); err != nil {
					return
				}
				t, payload, err := fr.frame()
				if err != nil {
					return
				}
				frames <- frame{t, payload}
			}
		}()
		time.Sleep(signEvery / 2)
		for i, c := range []struct {
			alive bool
			want  int64 // bytes of signs: two each
		}{{true, 2 * 9}, {false, 0}, {true, 2 * 9}} {
			before := counted.n.Load()
			alive.Store(c.alive)
			time.Sleep(9 * signEvery)
			synctest.Wait()
			if got := counted.n.Load() - before; got != c.want {
				t.Errorf("%d: %d bytes came while nothing was said, want %d", i, got, c.want)
			}
			if err := fw.write(frameSent, nil); err != nil {
				t.Fatal(err)
			}
			if err := fw.flush(); err != nil {
				t.Fatal(err)
			}
			if f := <-frames; f.t != frameSent || len(f.payload) > 0 {
				t.Errorf("%d: frame %+v", i, f)
			}
			time.Sleep(signEvery)
		}
		stop()
		w.Close()
		<-frames
	})
}

type countedReads struct {
	r io.Reader
	n atomic.Int64
}

func (c *countedReads) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func TestSignOfLifeThatCarriesSomethingIsRefused(t *testing.T) {
	fr := newFrameReader(bytes.NewReader([]byte{byte(frameAlive), 1, 'x'}))
	if _, _, err := fr.frame(); err == nil {
		t.Error("it was taken")
	}
}
