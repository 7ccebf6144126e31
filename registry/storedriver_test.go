package registry

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestStoreDriverStaysInItsDirectory(t *testing.T) {
	root := t.TempDir()
	d := storeDriver{disk.Open(root + "/store")}
	for _, p := range []string{"/../x", "/a/../../x", "x", "", "/a//b", "/a/./b", "/a/", "/a\x00b"} {
		ctx := t.Context()
		_, errGet := d.GetContent(ctx, p)
		_, errRead := d.Reader(ctx, p, 0)
		_, errWrite := d.Writer(ctx, p, false)
		_, errStat := d.Stat(ctx, p)
		_, errList := d.List(ctx, p)
		for i, err := range []error{errGet, errRead, errWrite, errStat, errList, d.PutContent(ctx, p, nil), d.Move(ctx, p, "/x"), d.Move(ctx, "/x", p), d.Delete(ctx, p)} {
			if !errors.As(err, new(driver.InvalidPathError)) {
				t.Errorf("%q, %d: %v", p, i, err)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{}, registrytest.Tree(t, root)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNotInAStoreIsSaidToBeMissing(t *testing.T) {
	d := storeDriver{disk.Open(t.TempDir())}
	ctx := t.Context()
	if err := d.PutContent(ctx, "/file", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/no", "/file/below", "/" + strings.Repeat("x", 300)} {
		_, errGet := d.GetContent(ctx, p)
		_, errStat := d.Stat(ctx, p)
		_, errList := d.List(ctx, p)
		for i, err := range []error{errGet, errStat, errList, d.Delete(ctx, p)} {
			if !errors.As(err, new(driver.PathNotFoundError)) {
				t.Errorf("%.20s, %d: %v", p, i, err)
			}
		}
	}
	if err := d.Move(ctx, "/no", "/a/b/c"); !errors.As(err, new(driver.PathNotFoundError)) {
		t.Errorf("move: %v", err)
	}
	if _, err := d.Reader(ctx, "/file", 2); !errors.As(err, new(driver.InvalidOffsetError)) {
		t.Errorf("an offset behind the end: %v", err)
	}
}

func TestStoreDriverGoesOnWithAFile(t *testing.T) {
	d := storeDriver{disk.Open(t.TempDir())}
	ctx := t.Context()
	for i, part := range []string{"one ", "two ", "three"} {
		w, err := d.Writer(ctx, "/a/b", i > 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Commit(ctx), w.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Move(ctx, "/a/b", "/c/d/e"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"c/d/e": "one two three"}, registrytest.Tree(t, d.store.Root())); diff != "" {
		t.Error(diff)
	}
	r, err := d.Reader(ctx, "/c/d/e", 4)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "two three" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestOldUploadsAreRemoved(t *testing.T) {
	root := t.TempDir()
	d := storeDriver{disk.Open(root)}
	synctest.Test(t, func(t *testing.T) {
		put := func(id string, age time.Duration) string {
			dir := "/" + disk.LayoutRepositories + "/x/_uploads/" + id
			if err := d.PutContent(t.Context(), dir+"/startedat", []byte(time.Now().Add(-age).UTC().Format(time.RFC3339))); err != nil {
				t.Fatal(err)
			}
			return root + dir
		}
		old, young := put("00000000-0000-4000-8000-000000000001", 8*24*time.Hour), put("00000000-0000-4000-8000-000000000002", 6*24*time.Hour)
		p, err := purgingOf(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.start(t.Context(), d)
		there := func(dir string) bool {
			synctest.Wait()
			_, err := os.Stat(dir)
			return err == nil
		}
		if !there(old) || !there(young) {
			t.Error("removed at once")
		}
		time.Sleep(firstPurge)
		if there(old) || !there(young) {
			t.Errorf("after an hour: the old one is there %t, the young one %t", there(old), there(young))
		}
		time.Sleep(2 * p.interval)
		if there(young) {
			t.Error("the young one has become old, and is there")
		}
	})
}
