package wait

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errEnough = errors.New("enough")

// within gives a context that ends after d, with errEnough as its cause.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, errEnough)
	t.Cleanup(cancel)
	return ctx
}

func TestForEndsInTimeOrWithItsContext(t *testing.T) {
	for _, tc := range []struct {
		d, limit, took time.Duration
		err            error
	}{
		{3 * time.Second, time.Minute, 3 * time.Second, nil},
		{time.Hour, time.Second, time.Second, errEnough},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if err := For(within(t, tc.limit), tc.d); err != tc.err || time.Since(began) != tc.took {
				t.Errorf("%v of %v: %v after %v, want %v after %v", tc.d, tc.limit, err, time.Since(began), tc.err, tc.took)
			}
		})
	}
}

func TestUntilAnAttemptWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := Until(within(t, time.Minute), 2*time.Second, func(context.Context) error {
			if tries++; tries < 4 {
				return errors.New("not yet")
			}
			return nil
		})
		if err != nil || tries != 4 || time.Since(began) != 6*time.Second {
			t.Errorf("%v after %d tries and %v, want none after 4 and 6s", err, tries, time.Since(began))
		}
	})
}

func TestUntilTellsTheLastErrorThatSaysSomething(t *testing.T) {
	// An attempt takes three seconds, or until it is broken off; between two is one.
	try := func(tries *int) func(context.Context) error {
		return func(ctx context.Context) error {
			*tries++
			if err := For(ctx, 3*time.Second); err != nil {
				return err
			}
			return fmt.Errorf("refused %d", *tries)
		}
	}
	for limit, want := range map[time.Duration]string{
		10 * time.Second:        "refused 2", // the third is broken off
		7500 * time.Millisecond: "refused 2", // it ends in a pause
		2 * time.Second:         "enough",    // there is no other
	} {
		synctest.Test(t, func(t *testing.T) {
			tries, began := 0, time.Now()
			err := Until(within(t, limit), time.Second, try(&tries))
			if err == nil || err.Error() != want || time.Since(began) != limit {
				t.Errorf("within %v: %v after %v, want %q", limit, err, time.Since(began), want)
			}
		})
	}
}

func TestEveryComesRoundUntilItsContextEndsOrItsBodyStops(t *testing.T) {
	for name, tc := range map[string]struct {
		limit time.Duration
		body  func(round int) (more bool)
		want  []time.Duration // when a round began
	}{
		"its context ends": {3500 * time.Millisecond, func(int) bool { return true }, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}},
		"its body stops":   {time.Hour, func(round int) bool { return round < 2 }, []time.Duration{time.Second, 2 * time.Second}},
		"a round is late": {6500 * time.Millisecond, func(round int) bool {
			if round == 1 {
				time.Sleep(3500 * time.Millisecond)
			}
			return true
		}, []time.Duration{time.Second, 4500 * time.Millisecond, 5 * time.Second, 6 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, got := time.Now(), []time.Duration(nil)
				for range Every(within(t, tc.limit), time.Second) {
					got = append(got, time.Since(began))
					if !tc.body(len(got)) {
						break
					}
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("rounds (-want +got):\n%s", diff)
				}
			})
		})
	}
}
