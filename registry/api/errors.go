package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sirupsen/logrus"
)

// Refuse answers with an error in the form that clients of registries understand.
func Refuse(w http.ResponseWriter, code errcode.ErrorCode, message string, detail any) {
	refuse(w, code.Descriptor().HTTPStatusCode, errcode.Errors{errcode.Error{Code: code, Message: message, Detail: detail}})
}

func refuse(w http.ResponseWriter, status int, errs errcode.Errors) {
	body, err := json.Marshal(errs)
	if err != nil {
		body = []byte(`{"errors":[]}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// tooLarge is what the specification has a status for, and no code.
type tooLarge struct{ reason errcode.Error }

func (e tooLarge) Error() string { return e.reason.Error() }

// fail answers with what went wrong. What the client did not bring about is logged too.
func (c *call) fail(err error) {
	var large tooLarge
	var one errcode.Error
	var code errcode.ErrorCode
	var many errcode.Errors
	switch {
	case errors.As(err, &large):
		refuse(c.w, http.StatusRequestEntityTooLarge, errcode.Errors{large.reason})
	case errors.As(err, &many) && len(many) > 0:
		status := http.StatusBadRequest
		if coder, ok := many[0].(errcode.ErrorCoder); ok {
			status = coder.ErrorCode().Descriptor().HTTPStatusCode
		}
		refuse(c.w, status, many)
	case errors.As(err, &one):
		Refuse(c.w, one.Code, one.Message, one.Detail)
	case errors.As(err, &code):
		Refuse(c.w, code, code.Message(), nil)
	case c.r.Context().Err() != nil: // nobody is there to be told
	default:
		logrus.Errorf("%s %s: %v", c.r.Method, c.r.URL.Path, err)
		Refuse(c.w, errcode.ErrorCodeUnknown, "the registry failed to do this", err.Error())
	}
}

// json answers with a value.
func (c *call) json(v any, mediaType string) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", mediaType)
	return c.body(body)
}
