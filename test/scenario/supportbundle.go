package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

const (
	supportFile = "/root/support.tar.gz"
	// supportLimit is how long a support bundle may take, a dead host included.
	supportLimit = 2 * time.Minute
)

// supportBundle has a master write a support bundle. It holds what whoever helps looks for, names the host that is dead, if one is,
// and holds no secret of the site: neither those that the installer made nor one that a pod has in its environment.
func supportBundle(ctx context.Context, s *Site, st *story, dead *testbed.Host) error {
	want, masters := 0, s.Masters
	if dead != nil {
		want, masters = 1, append([]*testbed.Host{dead}, s.Masters...)
	}
	if err := plantSecrets(ctx, s); err != nil {
		return err
	}
	argv := []string{s.file, "support-bundle", "--masters", addresses(masters), "--nodes", addresses(s.Nodes), "-o", supportFile}
	st.heading("%s# ./sealinstall %s", s.master0().Name, strings.Join(argv[1:], " "))
	start := time.Now()
	res, err := s.master0().Run(ctx, testbed.Command{Argv: argv, Dir: "/root", Stderr: st.out})
	took := time.Since(start)
	st.say("%s\nstatus %d after %.1f s", strings.TrimSpace(res.Stdout), res.Code, took.Seconds())
	switch {
	case err != nil && res.Code != want:
		return fmt.Errorf("support-bundle: %w", err)
	case res.Code != want:
		return fmt.Errorf("support-bundle: status %d, want %d", res.Code, want)
	case took > supportLimit:
		return fmt.Errorf("support-bundle took %s, more than %s", took, supportLimit)
	}
	list, err := s.master0().Exec(ctx, "tar", "-tzf", supportFile)
	if err != nil {
		return err
	}
	// Names have the bundle's directory in front.
	holds := func(name string) bool {
		return slices.ContainsFunc(strings.Fields(list.Stdout), func(l string) bool { return strings.HasSuffix(l, "/"+name) })
	}
	needed := []string{"index.html", "analysis.json", "version.yaml", "cluster-resources/nodes.json", "cluster-resources/pods/kube-system.json"}
	for _, h := range slices.Concat(s.Masters, s.Nodes) {
		needed = append(needed, "host-collectors/system/"+h.Addr+"/facts.json")
	}
	var lacks []error
	for _, name := range needed {
		if !holds(name) {
			lacks = append(lacks, fmt.Errorf("the support bundle has no %s", name))
		}
	}
	if dead != nil {
		if _, err := s.master0().Exec(ctx, "bash", "-c", "tar -xzOf "+supportFile+" --wildcards '*/analysis.json' | grep -qF "+dead.Addr); err != nil {
			lacks = append(lacks, fmt.Errorf("its analysis does not name %s, which is dead: %w", dead.Addr, err))
		}
	}
	if err := errors.Join(lacks...); err != nil {
		return fmt.Errorf("%w\n%s", err, list.Stdout)
	}
	return holdsNoSecret(ctx, s, st)
}

// holdsNoSecret looks for the secrets of the site in the support bundle.
func holdsNoSecret(ctx context.Context, s *Site, st *story) error {
	// Secrets are handed on by files, and what is found is told by its name only.
	const look = `set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
tar -xzf ` + supportFile + ` -C "$dir"
mkdir "$dir.secrets" && cd "$dir.secrets" && trap 'rm -rf "$dir" "$dir.secrets"' EXIT
cp /var/lib/sealos/data/default/etc/registry-password /var/lib/sealos/data/default/etc/registry-push-password /root/planted-* .
k() { kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /root/.sealos/kubectl-of-test "$@"; }
k get secrets -n kube-system -o go-template='{{range .items}}{{with index .data "token-secret"}}{{.}}{{"\n"}}{{end}}{{end}}' | while read -r field; do
	base64 -d <<<"$field" >"token-$field"; echo "$field" >"token-base64-$field"
done
awk '/client-key-data/ {print $2}' /etc/kubernetes/admin.conf >administrator
sed -n 3p /etc/kubernetes/pki/ca.key >authority
for file in *; do
	[[ $(wc -c <"$file") -ge 12 ]] || { echo "$file is in no shape to be looked for"; exit 1; }
	if grep -rqF -f "$file" "$dir"; then printf '%s is in %s\n' "${file%%-*}" "$(grep -rlF -f "$file" "$dir" | head -3 | tr '\n' ' ')"; fi
done
echo "looked for $(ls | wc -l) secrets"`
	res, err := s.master0().Exec(ctx, "bash", "-c", look)
	if err != nil {
		return fmt.Errorf("look for secrets: %w\n%s%s", err, res.Stdout, res.Stderr)
	}
	st.say("%s", strings.TrimSpace(res.Stdout))
	if strings.Contains(res.Stdout, " is in ") {
		return fmt.Errorf("the support bundle holds secrets:\n%s", res.Stdout)
	}
	return nil
}

// plantSecrets puts a secret into a Secret, and one into the environment of pods, where it should not be and often is.
func plantSecrets(ctx context.Context, s *Site) error {
	const plant = `set -euo pipefail
k() { kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /root/.sealos/kubectl-of-test -n default "$@" >/dev/null; }
cd /root
for what in secret environment; do [[ -s planted-$what ]] || od -An -tx1 -N16 /dev/urandom | tr -d ' \n' >"planted-$what"; done
k get secret planted 2>/dev/null || k create secret generic planted --from-file=password=planted-secret
k get deployment planted 2>/dev/null || k create deployment planted --image=registry.k8s.io/pause:3.10 --replicas=0
k set env deployment/planted "DB_PASSWORD=$(cat planted-environment)"`
	if res, err := s.master0().Exec(ctx, "bash", "-c", plant); err != nil {
		return fmt.Errorf("plant secrets: %w\n%s", err, res.Stderr)
	}
	return nil
}
