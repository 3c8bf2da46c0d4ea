package version

import (
	"runtime/debug"
	"testing"
)

func TestTheBuildSaysWhichVersionThisIs(t *testing.T) {
	commit := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-11-23T12:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}
	for name, test := range map[string]struct {
		info                    debug.BuildInfo
		version, revision, time string
	}{
		"a module":   {debug.BuildInfo{Main: debug.Module{Version: "v1.4.0"}, Settings: commit[:2]}, "v1.4.0", "0123456789abcdef", "2026-11-23T12:00:00Z"},
		"a checkout": {debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: commit}, "devel-0123456789ab+dirty", "0123456789abcdef+modified", "2026-11-23T12:00:00Z"},
		"a test":     {debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel", "", ""},
		"no module":  {debug.BuildInfo{Settings: commit[2:]}, "devel+dirty", "", ""},
	} {
		revision, time := commitOf(&test.info)
		if got := versionOf(&test.info); got != test.version || revision != test.revision || time != test.time {
			t.Errorf("%s: %q, %q, %q", name, got, revision, time)
		}
	}
}
