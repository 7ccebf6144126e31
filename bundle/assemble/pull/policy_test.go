package pull

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

func TestSignaturePolicyDecides(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	d := u.PushImage(t, "team/app", "v1", amd64, upstreamtest.Layer("policy", 1000))
	u.PushImage(t, "other/app", "v1", amd64, upstreamtest.Layer("policy", 1000))
	o := options(u)
	anything := `[{"type":"insecureAcceptAnything"}]`
	o.System.SignaturePolicyPath = writeFile(t, filepath.Join(t.TempDir(), "policy.json"), fmt.Sprintf(
		`{"default":%s,"transports":{"docker":{"%s/team":[{"type":"reject"}]}}}`, anything, u.Host))
	refused := []string{u.Ref("team/app:v1"), u.Ref("team/app@" + d.Digest.String())}
	// Also what is in the store already is refused.
	open := options(u)
	open.System.SignaturePolicyPath = writeFile(t, filepath.Join(t.TempDir(), "policy.json"), `{"default":`+anything+`}`)
	gatherAll(t, s, wanted(refused...), open)
	for _, ref := range refused {
		if _, err := Gather(t.Context(), s, wanted(ref), o); err == nil || !strings.Contains(err.Error(), "refused by the signature policy") {
			t.Errorf("%s: error is %v, want a refusal", ref, err)
		}
	}
	gatherAll(t, s, wanted(u.Ref("other/app:v1")), o)
}
