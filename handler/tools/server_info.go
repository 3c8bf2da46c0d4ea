package tools

import (
	"context"

	"entramcp/handler/toolkit"
)

type serverDescription struct {
	Name           string            `json:"name"`
	Version        string            `json:"version"`
	Revision       string            `json:"revision,omitempty" jsonschema:"The commit this server was built from."`
	RevisionTime   string            `json:"revision_time,omitempty" jsonschema:"When that commit was made."`
	Authentication string            `json:"authentication"`
	Tools          []toolDescription `json:"tools"`
}

type toolDescription struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

func serverInfo(_ context.Context, caller *toolkit.Caller, _ struct{}) (serverDescription, error) {
	d := caller.Server()
	info := serverDescription{
		Name: d.Name, Version: d.Version, Revision: d.Revision, RevisionTime: d.RevisionTime,
		Authentication: d.Authentication, Tools: []toolDescription{},
	}
	for _, t := range d.Tools {
		info.Tools = append(info.Tools, toolDescription{t.Name, t.Description})
	}
	return info, nil
}
