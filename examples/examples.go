// Package examples has tools, resources and prompts to copy into handler/tools. Each
// file needs none of the others: copy it, change its package to tools, and add its
// function to the list there with Catalogue.With.
//
// make run EXAMPLES=on serves them all.
package examples

import "entramcp/handler/toolkit"

// All are the examples.
func All() []toolkit.Catalogue {
	return []toolkit.Catalogue{Notes(), NotesApp(), MyManager(), Countdown(), BookRoom(), Maintenance(), Swatch()}
}
