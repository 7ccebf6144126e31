package nodes

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// userKubeconfig is where kubectl looks for a kubeconfig when root runs it. Other users make their own. What was in the
// file before is kept beside it.
const (
	userKubeconfig   = "/root/.kube/config"               //docs:file masters: the cluster is added to what is there
	beforeKubeconfig = "/root/.kube/config.before-sealos" //docs:file masters: that file as it was before
)

// kubeconfigRecord is what a reset has to know to take the cluster out of root's kubeconfig. It is written before the
// kubeconfig.
type kubeconfigRecord struct {
	kubeadm.KubeconfigEntries
	Made   bool   `json:"made,omitempty"` // there was no file
	Digest string `json:"digest"`         // of the file as it was written
}

// kubeconfigLeft is what the mark says on a host where the kubeconfig was not written.
const kubeconfigLeft = "left as it is"

func (n *Nodes) kubeconfigRecordPath() string { return n.Dir("journal", "kubeconfig-entries") }

// AdminKubeconfig gives root on a master a kubeconfig. If root has one, the cluster is added to it, and the old file is
// kept beside it.
func (n *Nodes) AdminKubeconfig(ctx context.Context, t *fleet.Target) error {
	found, err := t.Agent.ReadFiles(ctx, []string{userKubeconfig, installer.AdminConf, n.kubeconfigRecordPath()})
	if err != nil {
		return fmt.Errorf("read kubeconfigs: %w", err)
	}
	admin := found[installer.AdminConf]
	user, exists := found[userKubeconfig]
	content, files, err := n.newKubeconfig(t, user, exists, admin, found[n.kubeconfigRecordPath()])
	if err != nil {
		// That root's own file cannot be read is no reason to fail: the cluster works.
		n.Report.Warnf("%s: %s is left as it is: %v (kubectl --kubeconfig %s works)", t.IP, userKubeconfig, err, installer.AdminConf)
	}
	if len(files) == 0 {
		return t.Journal.Set(ctx, journal.Kubeconfig, kubeconfigLeft)
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return fmt.Errorf("write %s: %w", userKubeconfig, err)
	}
	return t.Journal.Set(ctx, journal.Kubeconfig, journal.Inputs(content))
}

// newKubeconfig is what root's kubeconfig is to be, and the files to write for that, in their order; none if the old one
// stays.
func (n *Nodes) newKubeconfig(t *fleet.Target, user []byte, exists bool, admin, recorded []byte) (content []byte, files []agent.File, err error) {
	var rec kubeconfigRecord
	if recorded != nil && json.Unmarshal(recorded, &rec) == nil {
		renewed, has, err := kubeadm.RenewKubeconfig(user, admin, rec.KubeconfigEntries)
		if err != nil {
			return user, nil, err
		}
		if has {
			if journal.Inputs(user) == rec.Digest {
				rec.Digest = journal.Inputs(renewed)
			}
			return renewed, n.kubeconfigFiles(rec, renewed), nil
		}
	} else if bytes.Contains(user, []byte(base64.StdEncoding.EncodeToString(n.Secrets.PKI.CA()))) {
		return user, nil, nil // somebody has put the cluster there
	}
	content, names, err := kubeadm.MergeKubeconfig(user, admin, n.Cluster.Name)
	if err != nil {
		return user, nil, err
	}
	rec = kubeconfigRecord{KubeconfigEntries: names, Made: !exists}
	var before []agent.File
	if len(user) == 0 {
		content = admin
	} else {
		before = []agent.File{{Path: beforeKubeconfig, Mode: 0o600, Content: user}}
		n.Report.Infof("%s: merged into %s, with cluster %q, user %q and context %q; the old file is %s beside it",
			t.IP, userKubeconfig, names.Cluster, names.User, names.Context, path.Base(beforeKubeconfig))
	}
	rec.Digest = journal.Inputs(content)
	return content, append(before, n.kubeconfigFiles(rec, content)...), nil
}

func (n *Nodes) kubeconfigFiles(rec kubeconfigRecord, content []byte) []agent.File {
	data, err := json.Marshal(rec)
	if err != nil {
		panic(fmt.Sprintf("nodes: record of a kubeconfig: %v", err)) // strings can be encoded
	}
	return []agent.File{
		{Path: n.kubeconfigRecordPath(), Mode: 0o600, Content: append(data, '\n')},
		{Path: userKubeconfig, Mode: 0o600, Content: content},
	}
}

// RemoveKubeconfig takes the cluster out of root's kubeconfig. What others have written there, before or since, stays.
func (n *Nodes) RemoveKubeconfig(ctx context.Context, t *fleet.Target) error {
	found, err := t.Agent.ReadFiles(ctx, []string{userKubeconfig, beforeKubeconfig, n.kubeconfigRecordPath()})
	if err != nil {
		return err
	}
	user, exists := found[userKubeconfig]
	file := agent.File{Path: userKubeconfig, Mode: 0o600, Content: user}
	old, kept := found[beforeKubeconfig]
	var rec kubeconfigRecord
	if recorded := found[n.kubeconfigRecordPath()]; recorded == nil || json.Unmarshal(recorded, &rec) != nil {
		if !t.Journal.Is(journal.Kubeconfig, journal.Inputs(user)) {
			return nil // it was never written
		}
		rec = kubeconfigRecord{Made: !kept, Digest: journal.Inputs(user)} // by an earlier installer, which kept no record
	}
	untouched := exists && journal.Inputs(user) == rec.Digest
	switch {
	case !exists, untouched && rec.Made:
		file.Remove = true
	case untouched && kept:
		file.Content = old
	default:
		rest, empty, err := kubeadm.UnmergeKubeconfig(user, rec.KubeconfigEntries)
		if err != nil {
			n.Report.Warnf("%s: cluster %s, user %s and context %s stay in %s: %v", t.IP, rec.Cluster, rec.User, rec.Context, userKubeconfig, err)
			return nil
		}
		file.Content, file.Remove = rest, empty && rec.Made
	}
	if _, err := t.Agent.WriteFiles(ctx, []agent.File{file, {Path: beforeKubeconfig, Remove: true}}); err != nil {
		return fmt.Errorf("take the cluster out of %s: %w", userKubeconfig, err)
	}
	if _, err := t.Agent.Tidy(ctx, agent.TidyRequest{Dir: path.Dir(userKubeconfig)}); err != nil {
		return err
	}
	// The record goes last: taking the cluster out once more changes nothing.
	_, err = t.Agent.WriteFiles(ctx, []agent.File{{Path: n.kubeconfigRecordPath(), Remove: true}})
	return err
}
