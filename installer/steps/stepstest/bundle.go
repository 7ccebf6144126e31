// Package stepstest simulates a site for tests of the steps, and makes small real bundles for it.
package stepstest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
)

// Image is an image of one layer, for a bundle.
type Image struct {
	Name   string
	Type   string // rootfs, patch or application; empty for a container image
	Config v1.ImageConfig
	Files  map[string]string // what is in the layer; scripts are executable
	Gzip   bool              // the layer is held compressed, not as a plain tar
	OnSite bool              // config and layer are left out of the bundle: the site has them
	Arch   string            // empty: this machine's
	Others []Image           // the same image for other architectures; it is an index then
}

// Cluster are the images of a small bundle that can be installed: a rootfs, an application, the care image and one more
// container image.
func Cluster() []Image {
	return []Image{
		{
			Name: "localhost/kubernetes:v1.36.3", Type: "rootfs",
			Config: v1.ImageConfig{
				Labels: map[string]string{"version": "v1.36.3", "vip": "$defaultVIP", "check": "check.sh", "init-registry": "init-registry.sh"},
				Env:    []string{"PATH=/bin", "registryPassword=passw0rd", "SEALOS_SYS_CRI_ENDPOINT=/run/containerd/containerd.sock"},
				Cmd:    []string{"echo hello"},
			},
			Files: map[string]string{
				"scripts/check.sh":         "echo the check runs; test -f ../etc/site.conf\n",
				"scripts/init-registry.sh": "echo the registry starts\n",
				"etc/site.conf.tmpl":       "domain={{ .registryDomain }} own={{ .SEALOS_SYS_HOST_IP }}\n",
				"bin/tool":                 "a program\n",
				"registry/docker/stale":    "travels as images, not as files\n",
			},
		},
		{
			Name: "localhost/app:v1", Type: "application", Gzip: true,
			Config: v1.ImageConfig{Cmd: []string{"echo $(GREETING)"}, Env: []string{"GREETING=hi"}},
			Files:  map[string]string{"manifests/app.yaml": "kind: List\n"},
		},
		{Name: "sealbuild.io/care:v1", Files: map[string]string{"usr/bin/sealinstall": "care\n"}, Gzip: true},
		{Name: "registry.k8s.io/pause:3.10.2", Files: map[string]string{"pause": strings.Repeat("pause\n", 500)}, Gzip: true},
	}
}

// Write writes a bundle of images for this machine's platform, behind a stub.
func Write(w io.Writer, stub []byte, images []Image) error {
	return WriteWith(w, bundle.WriterOptions{Stub: bytes.NewReader(stub)}, images)
}

// WriteWith is [Write] with more options.
func WriteWith(w io.Writer, o bundle.WriterOptions, images []Image) error {
	o.StubPlatform, o.Concurrency = "linux/"+runtime.GOARCH, 1
	bw, err := bundle.NewWriter(w, o)
	if err != nil {
		return err
	}
	for _, i := range images {
		if err := add(bw, i); err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
	}
	_, err = bw.Close()
	return err
}

func (i Image) platform() v1.Platform {
	if i.Arch == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	return v1.Platform{OS: "linux", Architecture: i.Arch}
}

// add adds an image, or an index of it and the others.
func add(w *bundle.Writer, i Image) error {
	root, size, err := addOne(w, i)
	if err != nil {
		return err
	}
	names := []string{"linux/" + i.platform().Architecture}
	if len(i.Others) > 0 {
		p := i.platform()
		root.Platform = &p
		index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{root}}
		for _, o := range i.Others {
			o.Name, o.Type = i.Name, i.Type
			child, n, err := addOne(w, o)
			if err != nil {
				return err
			}
			p := o.platform()
			child.Platform = &p
			index.Manifests = append(index.Manifests, child)
			size += n
			names = append(names, "linux/"+p.Architecture)
		}
		raw, err := json.Marshal(index)
		if err != nil {
			return err
		}
		root = descriptor(v1.MediaTypeImageIndex, raw)
		if err := w.AddBlob(context.Background(), root.Digest, root.Size, true, bytes.NewReader(raw)); err != nil {
			return err
		}
		size += root.Size
	}
	kind := bundle.KindImage
	if i.Type != "" {
		kind = bundle.KindCluster
	}
	return w.AddImage(bundle.Image{
		Name: i.Name, Digest: root.Digest, MediaType: root.MediaType, ManifestSize: root.Size,
		Platforms: names, Size: size, Kind: kind, ClusterType: i.Type,
	})
}

// addOne adds the blobs of an image of one platform. size is that of all of them, in bytes.
func addOne(w *bundle.Writer, i Image) (root v1.Descriptor, size int64, err error) {
	layer, err := layerOf(i.Files)
	if err != nil {
		return root, 0, err
	}
	diffID, mediaType := digest.FromBytes(layer), v1.MediaTypeImageLayer
	if i.Gzip {
		mediaType = v1.MediaTypeImageLayerGzip
		var buf bytes.Buffer
		zw := gzip.NewWriter(&buf)
		if _, err := zw.Write(layer); err != nil {
			return root, 0, err
		}
		if err := zw.Close(); err != nil {
			return root, 0, err
		}
		layer = buf.Bytes()
	}
	config := v1.Image{
		Platform: i.platform(),
		Config:   i.Config, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	}
	if i.Type != "" {
		config.Config.Labels = maps.Clone(config.Config.Labels)
		if config.Config.Labels == nil {
			config.Config.Labels = map[string]string{}
		}
		config.Config.Labels["sealos.io.type"] = i.Type
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return root, 0, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: descriptor(v1.MediaTypeImageConfig, raw),
		Layers: []v1.Descriptor{descriptor(mediaType, layer)},
	})
	if err != nil {
		return root, 0, err
	}
	if i.OnSite {
		for _, b := range [][]byte{layer, raw} {
			if err := w.Expect(digest.FromBytes(b), int64(len(b))); err != nil {
				return root, 0, err
			}
		}
	}
	for _, b := range [][]byte{layer, raw, manifest} {
		if i.OnSite && &b[0] != &manifest[0] {
			continue
		}
		compress := !i.Gzip || &b[0] != &layer[0]
		if err := w.AddBlob(context.Background(), digest.FromBytes(b), int64(len(b)), compress, bytes.NewReader(b)); err != nil {
			return root, 0, err
		}
	}
	return descriptor(v1.MediaTypeImageManifest, manifest), int64(len(layer) + len(raw) + len(manifest)), nil
}

func descriptor(mediaType string, b []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func layerOf(files map[string]string) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		mode := int64(0o644)
		if strings.HasPrefix(name, "scripts/") || strings.Contains(name, "bin/") {
			mode = 0o755
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(tw, files[name]); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), tw.Close()
}

// Sealos are the images of a bundle as they are made for sealos, small and in our own words. Labels chain scripts and give
// them arguments. No file has its executable bit. The registry is a program of the image that speaks plain HTTP, and its
// clients (image-cri-shim, containerd) know names without domain. registryProgram is the content of that program. It is
// called as `registry serve CONFIG`, and has to run until it is killed.
//
// Where systemd runs, the registry is a service; otherwise the script starts it itself.
func Sealos(registryProgram string) []Image {
	return []Image{
		{
			Name: "docker.io/site/kubernetes:v1.28.15", Type: "rootfs", Gzip: true,
			Config: v1.ImageConfig{
				Labels: map[string]string{
					"sealos.io.version": "v1beta1", "version": "v1.28.15", "vip": "$defaultVIP", "image": "ghcr.io/labring/lvscare:v4.3.7",
					"check": "check.sh $registryData", "init-registry": "init-registry.sh $registryData $registryConfig",
					"init":           "init-cri.sh $registryDomain $registryPort && bash init.sh",
					"clean":          "clean.sh && bash clean-cri.sh $criData",
					"clean-registry": "clean-registry.sh $registryData $registryConfig",
				},
				Env: []string{
					"PATH=/bin", "criData=/var/lib/containerd", "registryData=/var/lib/registry", "registryConfig=/etc/registry", "registryDomain=sealos.hub",
					"registryPort=5000", "registryUsername=admin", "registryPassword=passw0rd", "disableApparmor=false", "defaultVIP=10.103.97.2",
					"sandboxImage=pause:3.9", "SEALOS_SYS_CRI_ENDPOINT=/var/run/containerd/containerd.sock", "SEALOS_SYS_IMAGE_ENDPOINT=/var/run/image-cri-shim.sock",
				},
			},
			Files: sealosFiles(registryProgram),
		},
		{
			Name: "docker.io/site/patch:v1", Type: "addons",
			Files: map[string]string{"etc/motd": "of the patch\n", "etc/greeting.tmpl": "the patch greets {{ .registryDomain }}\n"},
		},
		{
			Name: "docker.io/site/app:v1", Type: "application",
			Config: v1.ImageConfig{Cmd: []string{"./install.sh $(NAME)"}, Env: []string{"NAME=demo"}},
			Files:  map[string]string{"install.sh": "#!/bin/sh\necho \"$1 is installed\"\n"},
		},
		{Name: "sealbuild.io/care:v1", Files: map[string]string{"usr/bin/sealinstall": "care\n"}, Gzip: true},
		{Name: "registry.k8s.io/pause:3.9", Files: map[string]string{"pause": "pause\n"}, Gzip: true},
		{Name: "registry.k8s.io/coredns/coredns:v1.10.1", Files: map[string]string{"coredns": "coredns\n"}, Gzip: true},
		{Name: "docker.io/library/nginx:1.27", Files: map[string]string{"nginx": "nginx\n"}, Gzip: true},
	}
}

func sealosFiles(registryProgram string) map[string]string {
	return map[string]string{
		"cri/registry":     registryProgram,
		"opt/lsof":         "#!/bin/sh\nexit 1\n", // no port is taken
		"bin/kubectl":      "#!/bin/sh\n",
		"etc/motd":         "of the rootfs\n",
		"etc/greeting":     "a plain file that a template of the patch replaces\n",
		"etc/motd.d.tmpl":  "{{ if .site }}{{ .site }}{{ else }}no site{{ end }}\n",
		"etc/registry.yml": "unused by this installer\n",
		"etc/registry_config.yml.tmpl": `version: 0.1
storage:
  filesystem:
    rootdirectory: {{ .registryData }}
  delete:
    enabled: true
http:
  addr: :{{ .registryPort }}
  secret: cluster
auth:
  htpasswd:
    realm: basic-realm
    path: {{ .registryConfig }}/registry_htpasswd
`,
		"etc/registry.service.tmpl": "[Service]\nExecStart={{ .BIN_DIR | default \"/usr/bin\" }}/registry serve {{ .registryConfig }}/registry_config.yml\nRestart=always\n[Install]\nWantedBy=multi-user.target\n",
		"etc/image-cri-shim.yaml.tmpl": `shim: /var/run/image-cri-shim.sock
cri: {{ .SEALOS_SYS_CRI_ENDPOINT }}
address: http://{{ .registryDomain }}:{{ .registryPort }}
force: true
auth: {{ .registryUsername }}:{{ .registryPassword }}
`,
		"etc/config.toml.tmpl": "sandbox_image = \"{{ .registryDomain }}:{{ .registryPort }}/{{ .sandboxImage }}\"\ndisable_apparmor = {{ .disableApparmor }}\n",
		"etc/hosts.toml.tmpl":  "server = \"http://{{ .registryDomain }}:{{ .registryPort }}\"\n",
		"scripts/common.sh":    "fail() { echo \"$*\" >&2; exit 1; }\nBIN_DIR=${BIN_DIR:-/usr/bin}\n",
		"scripts/check.sh": `#!/bin/bash
. ./common.sh
[ -f "$1" ] && fail "$1 is a file"
../bin/kubectl || exit # large in real images, so it is not there before the rootfs is
mkdir -p "$BIN_DIR" && cp ../opt/lsof "$BIN_DIR/lsof" && "$BIN_DIR/lsof" -i :10250 && fail "port 10250 is taken"
command -v apparmor_parser >/dev/null || sed -i 's/disable_apparmor = false/disable_apparmor = true/' ../etc/config.toml
echo checked
`,
		"scripts/init-registry.sh": `#!/bin/bash
. ./common.sh
mkdir -p "$1" "$2" "$BIN_DIR"
cp -a ../cri/registry "$BIN_DIR/registry"
cp ../etc/registry_config.yml ../etc/registry_htpasswd "$2/" || fail "no configuration"
if [ -d /run/systemd/system ]; then
  cp ../etc/registry.service /etc/systemd/system/registry.service
  systemctl daemon-reload && systemctl enable registry && systemctl restart registry || fail "cannot start the registry"
else
  setsid "$BIN_DIR/registry" serve "$2/registry_config.yml" </dev/null >/dev/null 2>&1 &
fi
`,
		"scripts/init-cri.sh":  "#!/bin/bash\n. ./common.sh\nmkdir -p \"$BIN_DIR\"\necho \"$1:$2\" >>\"$BIN_DIR/ran\"\n",
		"scripts/init.sh":      "#!/bin/bash\n. ./common.sh\ncp -a ../bin/kubectl \"$BIN_DIR/kubectl-of-the-image\"\n[ -x \"$BIN_DIR/kubectl-of-the-image\" ] || fail 'not executable'\necho init >>\"$BIN_DIR/ran\"\n",
		"scripts/clean.sh":     "#!/bin/bash\n. ./common.sh\nrm -f \"$BIN_DIR/ran\"\n",
		"scripts/clean-cri.sh": "#!/bin/bash\necho \"clean $1\"\n",
		"scripts/clean-registry.sh": `#!/bin/bash
. ./common.sh
[ -d /run/systemd/system ] && systemctl disable --now registry
rm -rf "$1" "$2" "$BIN_DIR/registry"
`,
	}
}
