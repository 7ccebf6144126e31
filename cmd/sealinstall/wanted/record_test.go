package wanted

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/installer"
)

const finishedRecord = `apiVersion: apps.sealos.io/v1beta1
kind: Cluster
metadata:
  name: default
spec:
  image: [localhost/kubernetes:v1.36.3, localhost/app:v1]
  ssh: {user: root, port: 22}
  env: [registryPort=5001]
  hosts:
    - ips: [10.0.0.2, 10.0.0.3, 10.0.0.4]
      roles: [master]
    - ips: [10.0.0.5]
      roles: [node]
status:
  phase: ClusterSuccess
`

// flagged are options with the flags given, on a machine whose cluster has the record given.
func flagged(t *testing.T, record string, flags ...string) *Options {
	t.Helper()
	root := t.TempDir()
	t.Setenv("SEALOS_RUNTIME_ROOT", filepath.Join(root, "state"))
	t.Setenv("HOME", filepath.Join(root, "home"))
	onMaster := filepath.Join(root, "Clusterfile")
	if err := os.WriteFile(onMaster, []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &Options{onMaster: func(string) string { return onMaster }}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.ClusterFlags(f)
	o.SettingsFlags(f)
	if err := f.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return o
}

func worked(c *installer.Cluster) (out []string) {
	for _, h := range c.Hosts {
		if !h.Away {
			out = append(out, h.IP.String())
		}
	}
	return out
}

func TestAMasterWithoutARecordOfItsOwnKnowsTheWholeCluster(t *testing.T) {
	all := []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}
	o := flagged(t, finishedRecord)
	c, err := o.Desired()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, worked(c)); diff != "" {
		t.Errorf("a run without flags (-want +got):\n%s", diff)
	}
	o = flagged(t, finishedRecord)
	if c, err = o.Selection("status"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, worked(c)); diff != "" {
		t.Errorf("status without flags (-want +got):\n%s", diff)
	}
}

func TestSettingsOfTheLastRunThatEndedStayInForce(t *testing.T) {
	o := flagged(t, finishedRecord, "--masters", "10.0.0.3", "--nodes", "10.0.0.6")
	c, err := o.Desired()
	if err != nil {
		t.Fatal(err)
	}
	if c.Env["registryPort"] != "5001" {
		t.Errorf("settings: %v", c.Env)
	}
	if diff := cmp.Diff([]string{"10.0.0.3", "10.0.0.6"}, worked(c)); diff != "" {
		t.Errorf("hosts worked on (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.0.0.2", "10.0.0.4", "10.0.0.5"}, c.Away()); diff != "" {
		t.Errorf("hosts left alone (-want +got):\n%s", diff)
	}
	if c, err = flagged(t, finishedRecord, "--masters", "10.0.0.3", "-e", "registryPort=5002").Desired(); err != nil || c.Env["registryPort"] != "5002" {
		t.Errorf("what a flag says: %v, %v", c, err)
	}
	// Of a run that never came to its end nothing is in force: the flags say all.
	failed := finishedRecord[:len(finishedRecord)-len("ClusterSuccess\n")] + "ClusterFailed\n"
	if c, err = flagged(t, failed, "--masters", "10.0.0.3").Desired(); err != nil || c.Env["registryPort"] != "" {
		t.Errorf("settings of a run that failed: %v, %v", c, err)
	}
}
