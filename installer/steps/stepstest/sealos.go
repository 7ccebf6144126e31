package stepstest

import v1 "github.com/opencontainers/image-spec/specs-go/v1"

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
