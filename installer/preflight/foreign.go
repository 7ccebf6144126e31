package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
)

const (
	pkiDir      = installer.KubeDir + "/pki"
	manifestDir = installer.KubeDir + "/manifests"
)

// ForeignFiles finds files of others below /etc/kubernetes where the cluster's own would lie, above all authorities and keys:
// to overwrite those would destroy what they have signed. Files that nothing overwrites may stay. known are the files below the
// directory that this installer, kubeadm and kubelet write; told are problems that are reported already, so that no file is
// named twice.
func ForeignFiles(v Host, joined bool, known []string, told []Problem) []Problem {
	var out []Problem
	add := func(check, remedy, format string, files []string) {
		files = slices.DeleteFunc(files, func(file string) bool {
			return slices.ContainsFunc(told, func(p Problem) bool {
				return p.Host == v.IP && strings.HasSuffix(p.Message, " "+file)
			})
		})
		if len(files) > 0 {
			out = append(out, Problem{Host: v.IP, Check: check, Message: fmt.Sprintf(format, installer.NameSome(files)), Remedy: remedy})
		}
	}
	var pki, pods, others []string
	for _, file := range v.Facts.KubernetesFiles {
		below := strings.TrimPrefix(file, installer.KubeDir+"/")
		ours := slices.ContainsFunc(known, func(k string) bool {
			begin, pattern := strings.CutSuffix(k, "*")
			return pattern && strings.HasPrefix(below, begin) || below == k
		})
		switch {
		case strings.HasPrefix(file, pkiDir+"/"):
			pki = append(pki, file)
		case strings.HasPrefix(file, manifestDir+"/") && !ours:
			pods = append(pods, file)
		case ours:
			others = append(others, file)
		}
	}
	if v.Begun {
		if !joined {
			add("kubernetes", "move them away until the host is in the cluster: kubeadm begins with an empty directory only", "static pods of somebody else are there: %s", pods)
		}
		return out
	}
	const away = "move them away first: nothing of somebody else's is written over"
	add("foreign", away+" (mv "+pkiDir+" "+pkiDir+".before); to go on with their authorities give that directory with --ca-dir", "certificates or keys of somebody else are there: %s", pki)
	add("foreign", away, "the cluster would write over %s", others)
	return out
}
