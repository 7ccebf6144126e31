package kubefile

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestEnvAndLabelsExpandAsABuildExpandsThem(t *testing.T) {
	f := parse(t, `ARG BASE=scratch
ARG VERSION=v1.2.3
FROM ${BASE}
ARG VERSION
ENV NAME=app NS=${NS:-default}
ENV HELM_OPTS=${HELM_OPTS:-"--set a=1 \
  --set b=2"}
ENV OLD form with $NAME
ENV SAME=1 OTHER=$SAME-${VERSION#v}
LABEL sealos.io.type="rootfs" version=$VERSION \
  init="init.sh \$registryData" quoted='$NAME' init-registry="a.sh \$x && bash b.sh"
`)
	wantEnv := map[string]string{
		"NAME": "app", "NS": "default", "HELM_OPTS": "--set a=1   --set b=2",
		"OLD": "form with app", "SAME": "1", "OTHER": "-1.2.3",
	}
	if diff := cmp.Diff(wantEnv, f.Env()); diff != "" {
		t.Error(diff)
	}
	wantLabels := map[string]string{
		"sealos.io.type": "rootfs", "version": "v1.2.3", "init": "init.sh $registryData",
		"quoted": "$NAME", "init-registry": "a.sh $x && bash b.sh",
	}
	if diff := cmp.Diff(wantLabels, f.Labels()); diff != "" {
		t.Error(diff)
	}
	if typ, err := f.Type(); typ != Rootfs || err != nil {
		t.Errorf("Type = %v, %v", typ, err)
	}
	if f.Stages[0].Base != "scratch" {
		t.Errorf("base = %q", f.Stages[0].Base)
	}
}

func TestBuildArgumentsReplaceDefaults(t *testing.T) {
	f := parse(t, "ARG B=scratch\nFROM $B\nARG V=1\nENV V2=$V UNDECLARED=$W\n",
		WithBuildArgs(map[string]string{"B": "alpine:3", "V": "2", "W": "no"}))
	if diff := cmp.Diff(map[string]string{"V2": "2", "UNDECLARED": ""}, f.Env()); diff != "" {
		t.Error(diff)
	}
	if f.Stages[0].Base != "alpine:3" {
		t.Errorf("base = %q", f.Stages[0].Base)
	}
}

func TestCommandsStayAsTheGuestRunsThem(t *testing.T) {
	for name, tc := range map[string]struct {
		text            string
		cmd, entrypoint []string
	}{
		"array": {
			"FROM scratch\nENTRYPOINT [\"bash\"]\nCMD [\"a $(B)\", \"c ${D}\"]", []string{"a $(B)", "c ${D}"}, []string{"bash"},
		},
		"shell form is one line": {
			"FROM scratch\nCMD kubectl apply -f a && \\\n kubectl apply -f $B", []string{"kubectl apply -f a &&  kubectl apply -f $B"}, nil,
		},
		"the last one wins": {"FROM scratch\nCMD a\nCMD [\"b\"]", []string{"b"}, nil},
		"a stage inherits": {
			"FROM scratch AS base\nCMD a\nENTRYPOINT x\nFROM base\nENV A=1", []string{"a"}, []string{"x"},
		},
		"an inherited CMD goes with its entrypoint": {
			"FROM scratch AS base\nCMD a\nFROM BASE\nENTRYPOINT y", nil, []string{"y"},
		},
		"other stages do not count": {"FROM scratch AS base\nCMD a\nFROM scratch\nCOPY --from=base a b", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, tc.text)
			if diff := cmp.Diff(tc.cmd, f.Cmd(), cmpopts.EquateEmpty()); diff != "" {
				t.Error("cmd", diff)
			}
			if diff := cmp.Diff(tc.entrypoint, f.Entrypoint(), cmpopts.EquateEmpty()); diff != "" {
				t.Error("entrypoint", diff)
			}
		})
	}
}

func TestTypeIsReadFromEitherLabel(t *testing.T) {
	for label, want := range map[string]Type{
		"":                            Application,
		"sealos.io.type=application":  Application,
		"sealos.io.type=\"patch\"":    Patch,
		"sealos.io.type=addons":       Patch,
		"apps.sealos.io/type=rootfs":  Rootfs,
		"sealos.io.type ${T:-rootfs}": Rootfs,
	} {
		text := "FROM scratch\n"
		if label != "" {
			text += "LABEL " + label + "\n"
		}
		if got, err := parse(t, text).Type(); got != want || err != nil {
			t.Errorf("%q: Type = %v, %v", label, got, err)
		}
	}
	_, err := parse(t, "FROM scratch\nENV A=1\nLABEL a=b sealos.io.type=rootsf\n").Type()
	var typed *Error
	if !errors.As(err, &typed) || typed.Line != 3 || typed.Column != 11 {
		t.Errorf("err = %v", err)
	}
}
