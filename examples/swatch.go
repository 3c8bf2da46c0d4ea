package examples

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/png"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/toolkit"
)

type rgb struct {
	Red   uint8 `json:"red"`
	Green uint8 `json:"green"`
	Blue  uint8 `json:"blue"`
}

type swatch struct {
	Luminance float64 `json:"luminance" jsonschema:"From 0, black, to 1, white."`
}

// Swatch answers with a picture beside its structured result.
func Swatch() toolkit.Catalogue {
	return toolkit.Catalogue{Tools: []toolkit.Tool{
		toolkit.Define("swatch", "Show a colour and how bright it is.", drawSwatch, toolkit.ReadOnly(), toolkit.ClosedWorld()),
	}}
}

func drawSwatch(_ context.Context, _ *toolkit.Caller, in rgb) (toolkit.Result[swatch], error) {
	picture := image.NewRGBA(image.Rect(0, 0, 64, 64))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(color.RGBA{in.Red, in.Green, in.Blue, 255}), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return toolkit.Result[swatch]{}, err
	}
	return toolkit.Result[swatch]{
		Value:   swatch{float64(2126*int(in.Red)+7152*int(in.Green)+722*int(in.Blue)) / 2_550_000},
		Content: []mcp.Content{&mcp.ImageContent{MIMEType: "image/png", Data: b.Bytes()}},
	}, nil
}
