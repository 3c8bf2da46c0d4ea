package examples

import (
	"context"
	"fmt"

	"entramcp/handler/toolkit"
)

type booking struct {
	Day string `json:"day" jsonschema:"The day." format:"date"`
}

type details struct {
	Room   string `json:"room" jsonschema:"Which room?" enum:"Amber,Birch,Cedar"`
	People int    `json:"people" jsonschema:"For how many?" minimum:"1" maximum:"20"`
}

// BookRoom asks the user for what the model should not guess, and acts only then.
func BookRoom() toolkit.Catalogue {
	return toolkit.Catalogue{Tools: []toolkit.Tool{
		toolkit.Define("book_room", "Book a meeting room for a day.", bookRoom, toolkit.Additive(), toolkit.ClosedWorld()),
	}}
}

func bookRoom(ctx context.Context, caller *toolkit.Caller, in booking) (string, error) {
	d, err := toolkit.Ask[details](ctx, caller, "Which room do you want on "+in.Day+"?")
	if err != nil {
		return "", err
	}
	_, err = toolkit.DataOf[details](caller, "bookings").Put(ctx, in.Day, d, toolkit.IfNew)
	return fmt.Sprintf("%s is yours on %s, for %d.", d.Room, in.Day, d.People), err
}
