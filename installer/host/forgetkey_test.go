package host_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func TestTheKeyOfAHostThatIsGoneIsForgottenAndNoOther(t *testing.T) {
	key, other := hosttest.NewKey(t).PublicKey(), hosttest.NewKey(t).PublicKey()
	file := filepath.Join(t.TempDir(), "known_hosts")
	lines := []string{
		"# a comment",
		knownhosts.Line([]string{"10.0.0.1:22"}, key),
		knownhosts.Line([]string{"10.0.0.11:22"}, other),
		knownhosts.Line([]string{"10.0.0.1:2222"}, key),
		knownhosts.Line([]string{"10.0.0.1:22", "10.0.0.2:22"}, other),
		"@cert-authority 10.0.0.1 " + strings.SplitN(knownhosts.Line([]string{"x"}, key), " ", 2)[1],
		"what no program understands",
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := host.ForgetKeys(file, []netip.Addr{netip.MustParseAddr("10.0.0.1")}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Join([]string{lines[0], lines[2], lines[4], lines[5], lines[6]}, "\n")
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if err := host.ForgetKeys(filepath.Join(t.TempDir(), "none"), nil); err != nil {
		t.Error(errors.Join(errors.New("a file that does not exist"), err))
	}
}
