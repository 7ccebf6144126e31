package layers

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// What tests from outside look at in a directory of layers.
const (
	Own       = layersDir
	ListName  = listName
	HalfStage = stagePrefix + "dead"
	AnyStage  = stagePrefix + "*"
)

// Lie tells which layers a directory of this machine has by its list, and which was begun.
func Lie(dir string) (have []digest.Digest, begun digest.Digest, err error) {
	l, _, err := machine{files.At("")}.layersIn(dir)
	return l.layers, l.unpacking, err
}

// ExchangeInSteps is what Switch does on a file system that cannot exchange two directories, up to an error of the machine's disk.
func ExchangeInSteps(on files.Machine, dir string) (stopped, err error) {
	p, err := machine{on}.placesOf(dir)
	if err := errors.Join(err, machine{files.At(on.Root)}.dropList(p.dir)); err != nil {
		return nil, err
	}
	return machine{on}.exchangeInSteps(p, p.next), nil
}
