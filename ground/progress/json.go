package progress

import (
	"encoding/json"
	"io"
)

// jsonLines writes each event as one line of JSON.
type jsonLines struct{ w *json.Encoder }

func newJSON(w io.Writer) *jsonLines { return &jsonLines{json.NewEncoder(w)} }

func (j *jsonLines) event(e Event) {
	e.Time = e.Time.UTC()
	_ = j.w.Encode(e) // whoever read may be gone, and there are still the log and the exit status
}
