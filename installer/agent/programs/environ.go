// Package programs runs scripts and other programs on a host: in an environment without surprises, each with all it started
// ended when its caller goes.
package programs

import (
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// SystemPath lists the directories that PATH must have: that of a login over ssh often lacks the sbin directories.
const SystemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Unwanted tells whether commands must not inherit a variable. Proxies would lead traffic of the cluster out of it,
// and kubeadm writes them into its static pods; BASH_ENV and ENV would run a file before each script.
func Unwanted(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "bash_env", "env":
		return true
	}
	return false
}

// childEnv is the environment of a command: that of this process without unwanted variables, then extra.
func childEnv(inherited []string, extra map[string]string) []string {
	env := map[string]string{}
	for _, kv := range inherited {
		k, v, ok := strings.Cut(kv, "=")
		if ok && !Unwanted(k) {
			env[k] = v
		}
	}
	env["PATH"] = fullPath(env["PATH"])
	// sudo may keep the HOME of the user who logged in.
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil && u.HomeDir != "" {
		env["HOME"] = u.HomeDir
	}
	maps.Copy(env, extra)
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

func fullPath(path string) string {
	parts := strings.Split(path, ":")
	if path == "" {
		parts = nil
	}
	for p := range strings.SplitSeq(SystemPath, ":") {
		if !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ":")
}

// checkEnv refuses names and values that an environment cannot have.
func checkEnv(env map[string]string) error {
	for k, v := range env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return &agent.Error{Code: agent.CodeRefused, Message: "environment: " + strconv.Quote(k) + " is no variable that can be set"}
		}
	}
	return nil
}

func envValue(env []string, key string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v
		}
	}
	return ""
}

// Find looks for a program where commands are looked for.
func Find(name string) (string, error) { return findIn(name, fullPath(os.Getenv("PATH"))) }

// findIn looks for an executable file in the directories of a PATH.
func findIn(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(path, ":") {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return file, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}
