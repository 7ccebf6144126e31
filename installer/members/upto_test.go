package members

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDirectoriesAreListedUpToTheTopmost(t *testing.T) {
	if diff := cmp.Diff([]string{"/data/a/etcd", "/data/a", "/data"}, upTo("/", "/data/a/etcd")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/data/a/etcd", "/data/a"}, upTo("/data/a", "/data/a/etcd")); diff != "" {
		t.Error(diff)
	}
}
