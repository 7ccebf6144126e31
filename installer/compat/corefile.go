package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/coredns/corefile-migration/migration"
	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// corefile finds what kubeadm cannot carry over of CoreDNS' configuration, by the library that kubeadm has. There is nothing to
// find where the cluster has another name server.
func (c Compat) corefile(ctx context.Context) ([]preflight.Problem, error) {
	text, from, err := c.dnsOfNow(ctx)
	if err != nil || text == "" || from == "" {
		return nil, err
	}
	to, err := c.dnsOfBundle()
	if err != nil || to == "" {
		return nil, err
	}
	return corefileProblems(text, from, to), nil
}

// dnsOfNow gives the Corefile, and the version of CoreDNS that runs, as its image has it. They are empty if there is none.
func (c Compat) dnsOfNow(ctx context.Context) (text, version string, err error) {
	read := func(kind string, into any) error {
		return installer.Insist(ctx, c.APIPatience(), func(ctx context.Context) error {
			raw, err := c.Kube.Kubectl(ctx, "get", kind, "-n", "kube-system", "coredns", "-o", "json", "--ignore-not-found")
			if err != nil || len(bytes.TrimSpace(raw)) == 0 {
				return err
			}
			if err := json.Unmarshal(raw, into); err != nil {
				return fmt.Errorf("decode %s coredns: %w", kind, err)
			}
			return nil
		})
	}
	var stored struct {
		Data map[string]string `json:"data"`
	}
	var runs struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Image string `json:"image"`
					} `json:"containers"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := errors.Join(read("configmap", &stored), read("deployment", &runs)); err != nil {
		return "", "", err
	}
	for _, container := range runs.Spec.Template.Spec.Containers {
		version = kube.Runs{Image: container.Image}.Tag()
		break
	}
	return stored.Data["Corefile"], version, nil
}

// dnsOfBundle is the version of CoreDNS that comes with the new version: that of the documents, or of the bundle's image.
func (c Compat) dnsOfBundle() (string, error) {
	docs, err := site.WantedOf(c.Site, kubeadm.Init, c.Master0(), false)
	if err != nil {
		return "", err
	}
	text, err := docs.Text(kubeadm.Cluster)
	if err != nil {
		return "", err
	}
	var wanted struct {
		DNS struct {
			ImageTag string `yaml:"imageTag"`
		} `yaml:"dns"`
	}
	if err := yaml.Unmarshal(text, &wanted); err != nil || wanted.DNS.ImageTag != "" {
		return wanted.DNS.ImageTag, err
	}
	newest := ""
	for _, i := range payload.ContainerImages(c.Payload.Bundle) {
		tag := kube.Runs{Image: i.Name}.Tag()
		if !strings.HasSuffix(i.Name, "/coredns:"+tag) {
			continue
		}
		if v, err := semver.NewVersion(tag); err == nil && (newest == "" || v.GreaterThan(semver.MustParse(newest))) {
			newest = tag
		}
	}
	return newest, nil
}

// corefileProblems judges a Corefile; versions are those of CoreDNS.
func corefileProblems(text, from, to string) (out []preflight.Problem) {
	const remedy = "change it: kubectl -n kube-system edit configmap coredns; with --ignore-check corefile it stays as it is, and the new CoreDNS may not start with it"
	from, to = strings.TrimPrefix(from, "v"), strings.TrimPrefix(to, "v")
	note := func(warning bool, remedy, format string, args ...any) {
		p := preflight.Problem{Check: "corefile", Message: "the Corefile (ConfigMap kube-system/coredns) " + fmt.Sprintf(format, args...), Remedy: remedy, Warning: warning}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	defer func() {
		if recover() != nil { // the library takes braces for granted
			out = nil
			note(false, remedy, "cannot be read")
		}
	}()
	if from == to {
		return nil
	}
	for _, version := range []string{from, to} {
		if _, known := migration.Versions[version]; !known {
			note(true, "read CoreDNS' release notes, and try it where nothing depends on it", "was not tried: how CoreDNS %s is configured is not known here", version)
			return out
		}
	}
	unsupported, err := migration.Unsupported(from, to, text)
	if err != nil {
		note(false, remedy, "cannot be carried over from CoreDNS %s to %s: %v", from, to, err)
		return out
	}
	for _, n := range unsupported {
		note(false, remedy, "cannot be carried over from CoreDNS %s to %s: nobody knows what becomes of %s", from, to, inCorefile(n))
	}
	changes, err := migration.Deprecated(from, to, text)
	if err == nil {
		_, err = migration.Migrate(from, to, text, false)
	}
	if err != nil {
		note(false, remedy, "cannot be carried over from CoreDNS %s to %s: %v", from, to, err)
		return out
	}
	for _, n := range changes {
		switch n.Severity {
		case migration.SevRemoved, migration.SevIgnored:
			note(true, "look at it after the upgrade: kubeadm changes it, and keeps the one of before as Corefile-backup", "has %s, which is %s in CoreDNS %s", inCorefile(n), n.Severity, n.Version)
		case migration.SevDeprecated:
			note(true, "change it when there is time", "has %s, which is deprecated in CoreDNS %s", inCorefile(n), n.Version)
		}
	}
	return out
}

// inCorefile names what a notice is about.
func inCorefile(n migration.Notice) string {
	if n.Option != "" {
		return fmt.Sprintf("option %q of plugin %q", n.Option, n.Plugin)
	}
	return fmt.Sprintf("plugin %q", n.Plugin)
}
