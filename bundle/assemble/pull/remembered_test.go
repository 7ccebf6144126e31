package pull

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// notes are what is told while images are gathered.
type notes struct {
	silent
	mu  sync.Mutex
	all []string
}

func (n *notes) Note(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !strings.HasPrefix(text, "trying again") {
		n.all = append(n.all, text)
	}
}

func offline(u *upstreamtest.Upstream) (Options, *notes) {
	o, n := options(u), new(notes)
	o.Offline, o.Progress = true, n
	return o, n
}

func TestTagOfARegistryThatCannotBeReachedMeansWhatItMeant(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	u.PushImage(t, "one", "v1", amd64, upstreamtest.Layer("one", 1000))
	u.PushIndex(t, "two", "v1", unnamed(u.PushImage(t, "two", "", arm64, upstreamtest.Layer("arm", 1000)),
		u.PushImage(t, "two", "", amd64, upstreamtest.Layer("amd", 1000)))...)
	w := wanted(u.Ref("one:v1"), u.Ref("two:v1"), u.Ref("never:v1"))
	w[2].Suspected = true
	o, told := offline(u)
	first := gatherAll(t, s, w, o)
	if len(told.all) > 0 {
		t.Errorf("told while the registry answered: %q", told.all)
	}
	u.Close()
	second := gatherAll(t, s, w, o)
	if diff := cmp.Diff(first.Images, second.Images); diff != "" {
		t.Errorf("images (-reached +not):\n%s", diff)
	}
	if len(second.Absent) != 1 || !NotFound(second.Absent[0].Err) || !strings.Contains(second.Absent[0].String(), "when it was last reached") {
		t.Errorf("absent: %v", second.Absent)
	}
	want := regexp.MustCompile(`^registry unreachable: \S+/never:v1 is left out as it was on \d{4}-\d\d-\d\d, \S+/one:v1 is taken as it was on \d{4}-\d\d-\d\d, \S+/two:v1 is taken as it was on \d{4}-\d\d-\d\d$`)
	if len(told.all) != 1 || !want.MatchString(told.all[0]) {
		t.Errorf("told: %q", told.all)
	}
	for name, change := range map[string]func(o *Options, w *Wanted, s *store.Store){
		"where that is not wished": func(o *Options, _ *Wanted, _ *store.Store) { o.Offline = false },
		"of another tag":           func(_ *Options, w *Wanted, _ *store.Store) { w.Ref = u.Ref("one:v2") },
		"for another platform": func(o *Options, w *Wanted, _ *store.Store) {
			w.Ref, o.Platforms[0].Architecture = u.Ref("two:v1"), "s390x"
		},
		"when a blob is gone": func(_ *Options, _ *Wanted, s *store.Store) {
			layer := digest.FromBytes(upstreamtest.Layer("one", 1000))
			if err := os.Remove(filepath.Join(s.Root(), "blobs", "sha256", layer.Encoded())); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, told := offline(u)
			one := w[0]
			s, err := store.Open(s.Root()) // one that has seen nothing
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			change(&o, &one, s)
			_, err = Gather(t.Context(), s, []Wanted{one}, o)
			if failed := new(Error); !errors.As(err, &failed) || !strings.Contains(err.Error(), "check the network") || len(told.all) > 0 {
				t.Errorf("error is %v, told %q", err, told.all)
			}
		})
	}
}

func TestAnswerOfARegistryCountsMoreThanWhatWas(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("answered", 1000))
	mirror := upstreamtest.New(t)
	for _, status := range []int{http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		s := newStore(t)
		o, told := offline(u)
		gatherAll(t, s, wanted(u.Ref("app:v1")), o)
		u.Misbehave(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			return true
		})
		if _, err := Gather(t.Context(), s, wanted(u.Ref("app:v1")), o); err == nil || len(told.all) > 0 {
			t.Errorf("%d: error is %v, told %q", status, err, told.all)
		}
		u.Misbehave(nil)
	}
	// A mirror is as good as its registry.
	s := newStore(t)
	o, told := offline(u)
	o.System.SystemRegistriesConfPath = writeFile(t, filepath.Join(t.TempDir(), "registries.conf"),
		"[[registry]]\nlocation = \""+u.Host+"\"\ninsecure = true\n[[registry.mirror]]\nlocation = \""+mirror.Host+"\"\ninsecure = true\n")
	gatherAll(t, s, wanted(u.Ref("app:v1")), o)
	u.Close()
	if _, err := Gather(t.Context(), s, wanted(u.Ref("app:v1")), o); err == nil || len(told.all) > 0 {
		t.Errorf("a mirror says no: error is %v, told %q", err, told.all)
	}
	mirror.Close()
	gatherAll(t, s, wanted(u.Ref("app:v1")), o)
	if len(told.all) != 1 {
		t.Errorf("neither is reached: told %q", told.all)
	}
}
