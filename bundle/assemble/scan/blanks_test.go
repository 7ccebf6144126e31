package scan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListsWithBlanksCountWhereTheNameSaysImage(t *testing.T) {
	for _, tc := range []struct {
		value string
		named bool
		want  []string
	}{
		{"r.io/a:1, r.io/b:2", true, []string{"r.io/a:1", "r.io/b:2"}},
		{"v1=r.io/a:1 v2=r.io/b:2", true, []string{"r.io/a:1", "r.io/b:2"}},
		{"r.io/a:1\tr.io/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", true, []string{"r.io/a:1", "r.io/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}},
		{"r.io/a:1, r.io/b:2", false, nil},
		{"pull r.io/a:1 first", true, nil},
		{"r.io/a:1,r.io/b:2", false, []string{"r.io/a:1", "r.io/b:2"}},
	} {
		if diff := cmp.Diff(tc.want, looseRefs(tc.value, tc.named)); diff != "" {
			t.Errorf("%q, named %v (-want +got):\n%s", tc.value, tc.named, diff)
		}
	}
}
