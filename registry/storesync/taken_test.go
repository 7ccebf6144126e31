package storesync

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatAReceiverTakesFromOthersIsToldEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		rc := &receiver{w: newFrameWriter(w)}
		var told []int64
		s := &sender{options: PushOptions{Progress: func(n int64) { told = append(told, n) }}}
		answers := make(chan answer, 1)
		go func() { answers <- s.nextAnswer(newFrameReader(r)) }()

		time.Sleep(takenEvery / 2)
		s.setPassing(true)
		stop := rc.tellTaken(t.Context())
		for _, n := range []int64{10, 0, 25} {
			rc.fetched.Add(n)
			time.Sleep(takenEvery)
			synctest.Wait()
		}
		stop()
		s.passed(30) // five came while nothing was said, and one blob again
		s.setPassing(false)
		if err := rc.w.say(frameTaken, []byte{99}); err != nil { // too late
			t.Error(err)
		}
		if err := rc.w.say(frameAsked, nil); err != nil {
			t.Error(err)
		}
		if a := <-answers; a.err != nil {
			t.Error(a.err)
		}
		if diff := cmp.Diff([]int64{10, 25, -5}, told); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		w.Close()
	})
}

func TestATakenFrameThatHoldsNoNumberIsRefused(t *testing.T) {
	for _, frame := range [][]byte{{byte(frameTaken), 0}, {byte(frameTaken), 2, 1, 1}, {byte(frameTaken), 1, 0x80}} {
		s := &sender{}
		if a := s.nextAnswer(newFrameReader(bytes.NewReader(append(frame, byte(frameAsked), 0)))); a.err == nil {
			t.Errorf("%x is taken", frame)
		}
	}
}
