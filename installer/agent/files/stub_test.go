package files_test

import (
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

func TestMain(m *testing.M) { agenttest.Main(m) }
