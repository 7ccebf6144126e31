package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What a site has before, and after an upgrade.
const (
	oldKubernetes, newKubernetes   = "v1.35.0", "v1.36.3"
	oldApplication, newApplication = "1.0", "1.1"
)

// keptApp is an application whose data lies on one host: its pod can run nowhere else, so it is away while that host is changed.
const keptApp = `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: kept}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: on-one-host
  claimRef: {namespace: load, name: data-kept-0}
  local: {path: /srv/kept}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node1]}]
---
apiVersion: v1
kind: Service
metadata: {name: kept, namespace: load}
spec:
  type: NodePort
  selector: {app: kept}
  ports: [{port: 80, targetPort: 8080, nodePort: 30091}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: kept, namespace: load}
spec:
  serviceName: kept
  selector: {matchLabels: {app: kept}}
  template:
    metadata: {labels: {app: kept}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 10
      containers:
      - name: kept
        image: ghcr.io/sealbuild/hello:1.0
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: on-one-host
      resources: {requests: {storage: 1Gi}}
`

// bothVersions builds two files for one site: what it was installed from, and what it is upgraded with. Both begin with the same
// installer.
func (b *Built) bothVersions(ctx context.Context, s *story) error { return b.versions(ctx, s) }

// byDifference is bothVersions where the second file leaves out what the first one has brought.
func (b *Built) byDifference(ctx context.Context, s *story) error {
	return b.versions(ctx, s, "--base", b.work.path("old.run"))
}

func (b *Built) versions(ctx context.Context, s *story, second ...string) error {
	for _, v := range []struct {
		kubernetes, application, pieces, file string
		bundle                                *string
		more                                  []string
	}{
		{oldKubernetes, oldApplication, b.Before, "old.run", &b.OldBundle, nil},
		// The last one leaves the files of the repository's image as every other scenario has them.
		{newKubernetes, newApplication, b.Upstream, "new.run", &b.Bundle, second},
	} {
		s.heading("sealbuild: one file with Kubernetes %s and version %s of the application", v.kubernetes, v.application)
		if err := command(ctx, s.out, b.dir("kubernetes"), nil, "./fetch.sh", "--from", v.pieces, "--version", v.kubernetes); err != nil {
			return err
		}
		app, err := b.writeAskedApp(v.application)
		if err != nil {
			return fmt.Errorf("write the application: %w", err)
		}
		*v.bundle = b.work.path(v.file)
		for _, args := range [][]string{
			{"-t", "kubernetes:" + v.kubernetes, "--build-arg", "KUBE_VERSION=" + v.kubernetes, "-o", "none", b.dir("kubernetes")},
			{"-t", "flannel:v0.28.4", "-o", "none", b.dir("flannel")},
			append([]string{"-t", "asked:" + v.application, "--with", "kubernetes:" + v.kubernetes, "--with", "flannel:v0.28.4", "-o", *v.bundle, app}, v.more...),
		} {
			if err := b.seal(ctx, s, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeAskedApp writes the source of an application image: what is asked under load, and what keeps its data on one host.
func (b *Built) writeAskedApp(version string) (dir string, err error) {
	dir = b.work.path("asked-" + version)
	if err := os.MkdirAll(filepath.Join(dir, "manifests"), 0o755); err != nil {
		return "", err
	}
	kubefile := `FROM scratch
LABEL sealos.io.type="application" version="` + version + `"
ENV KUBECONFIG=/etc/kubernetes/admin.conf
COPY manifests manifests
CMD ["kubectl apply -f manifests/asked.yaml", "kubectl rollout status --namespace load deployment/asked --timeout=3m", "kubectl rollout status --namespace load statefulset/kept --timeout=3m"]
`
	for name, content := range map[string]string{
		"Kubefile":             kubefile,
		"manifests/asked.yaml": strings.ReplaceAll(askedApp, "hello:1.0", "hello:"+version) + keptApp,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}
