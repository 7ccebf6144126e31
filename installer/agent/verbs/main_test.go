package verbs_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
)

func TestRequestOfAnotherVersionIsRefused(t *testing.T) {
	for name, line := range map[string]string{
		"unknown field":    `{"protocol":2,"verb":"facts","request":{"newThing":true}}`,
		"unknown envelope": `{"protocol":2,"verb":"facts","request":{},"more":1}`,
		"other protocol":   `{"protocol":3,"verb":"facts","request":{}}`,
		"other verb":       `{"protocol":2,"verb":"exec","request":{}}`,
		"two values":       `{"protocol":2,"verb":"facts","request":{}} {}`,
		"no JSON":          `hello`,
		"empty":            ``,
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := verbs.Main(t.Context(), "facts", strings.NewReader(line+"\n"), &out)
			var e *agent.Error
			if !errors.As(err, &e) || e.Code != agent.CodeProtocol {
				t.Errorf("%v", err)
			}
			if !strings.HasPrefix(out.String(), `{"error":{"code":"protocol","message":`) {
				t.Errorf("answer %q", out.String())
			}
		})
	}
	if err := verbs.Main(t.Context(), "conquer", strings.NewReader("{}\n"), io.Discard); err == nil || !strings.Contains(err.Error(), "no verb") {
		t.Errorf("%v", err)
	}
	long := io.MultiReader(strings.NewReader(`{"protocol":2,"verb":"facts","request":{"tools":["`), io.LimitReader(zeros{}, agent.MaxRequest))
	if err := verbs.Main(t.Context(), "facts", long, io.Discard); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}
