package wanted

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/templates"
)

// How large files may be, in bytes: those that hold a password, and those that hold documents or values.
const (
	maxSecretFile = 4 << 10
	maxFile       = 8 << 20
)

// files reads Clusterfiles, and files with other documents. Those that are templates are rendered with the values that flags give.
type files struct{ valueFiles, set []string }

func (v *files) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&v.valueFiles, "values", nil, "YAML file of values for a Clusterfile that is a template (repeatable)")
	f.StringArrayVar(&v.set, "set", nil, "KEY=VALUE for a Clusterfile that is a template: a.b=1,list[0]=x (repeatable)")
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usage.Error{Err: err}
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, usage.Errorf("%s is a directory: name a file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return data, err
}

// read reads a file of documents. One that is a template is rendered first.
func (v *files) read(name string) (*installer.Cluster, error) {
	data, err := readBounded(name, maxFile)
	if err != nil {
		return nil, err
	}
	if len(v.valueFiles)+len(v.set) > 0 {
		if data, err = v.render(name, data); err != nil {
			return nil, usage.Error{Err: err}
		}
	}
	return parseClusterfile(name, data)
}

func (v *files) render(name string, data []byte) ([]byte, error) {
	values := templates.Values{}
	for _, file := range v.valueFiles {
		content, err := readBounded(file, maxFile)
		if err != nil {
			return nil, err
		}
		if err := values.AddFile(file, content); err != nil {
			return nil, err
		}
	}
	for _, s := range v.set {
		if err := values.Set(s); err != nil {
			return nil, fmt.Errorf("--set %w", err)
		}
	}
	return templates.RenderClusterfile(name, data, values)
}

// parseClusterfile reads documents, and looks for slips in those that kubeadm would pass over.
func parseClusterfile(name string, data []byte) (*installer.Cluster, error) {
	c, err := installer.ParseClusterfile(name, data)
	if c != nil {
		for _, doc := range c.Kubeadm {
			err = errors.Join(err, kubeadm.CheckFields(name, doc, installer.DidYouMean))
		}
	}
	if err != nil {
		return nil, usage.Error{Err: err}
	}
	return c, nil
}
