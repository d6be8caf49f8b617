// Package chart draws horizontal bar charts as SVG text: light, self-contained,
// no script, no font but the reader's own. Pure functions; any goroutine.
package chart

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
)

// Tone is how a bar is coloured.
type Tone int

// The tones.
const (
	Plain  Tone = iota // one of many
	Strong             // the one that the chart is about
	Faint              // a reference
)

// Bar is one row. Min and Max, if they differ, are drawn as a whisker.
type Bar struct {
	Label           string
	Value, Min, Max float64
	Tone            Tone
}

// Panel is one group of rows with a scale of its own, which starts at 0. Line,
// if positive, is a dashed mark at that value.
type Panel struct {
	Title string
	Line  float64
	Bars  []Bar
}

// Chart is a whole picture.
type Chart struct {
	Title    string
	Subtitle string
	Unit     string
	Footer   []string
	Panels   []Panel
}

// The layout, in pixels.
const (
	width       = 860
	margin      = 28
	labelWidth  = 150
	valueWidth  = 64
	plotLeft    = margin + labelWidth + 10
	plotWidth   = width - plotLeft - valueWidth - margin
	rowHeight   = 24
	barHeight   = 15
	headHeight  = 84
	titleHeight = 34
	panelGap    = 20
	footLine    = 17
)

const style = `text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#1f2937}` +
	`.t{font-size:20px;font-weight:600}.s{font-size:13px;fill:#4b5563}.p{font-size:14px;font-weight:600}` +
	`.l{font-size:13px;text-anchor:end}.v{font-size:12px;font-variant-numeric:tabular-nums}.b{font-weight:700}` +
	`.f{font-size:11.5px;fill:#6b7280}`

var fills = map[Tone]string{Plain: "#a9c1dd", Strong: "#0f766e", Faint: "#cbd2da"}

// SVG returns the picture as text.
func (c Chart) SVG() string {
	height := headHeight + margin/2 + footLine*len(c.Footer)
	for _, p := range c.Panels {
		height += titleHeight + rowHeight*len(p.Bars) + panelGap
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n",
		width, height, width, height, escape(c.Title))
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.Title), style)
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%d" height="%d" rx="10" fill="#ffffff" stroke="#e5e7eb"/>`+"\n", width-1, height-1)
	fmt.Fprintf(&b, `<text class="t" x="%d" y="40">%s</text>`+"\n", margin, escape(c.Title))
	fmt.Fprintf(&b, `<text class="s" x="%d" y="62">%s</text>`+"\n", margin, escape(c.Subtitle))
	y := headHeight
	for _, p := range c.Panels {
		y = c.panel(&b, p, y)
	}
	for _, line := range c.Footer {
		fmt.Fprintf(&b, `<text class="f" x="%d" y="%d">%s</text>`+"\n", margin, y+4, escape(line))
		y += footLine
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// panel draws p from y down and returns where the next one starts.
func (c Chart) panel(b *strings.Builder, p Panel, y int) int {
	fmt.Fprintf(b, `<text class="p" x="%d" y="%d">%s</text>`+"\n", margin, y+16, escape(p.Title))
	y += titleHeight
	top := p.Line
	for _, bar := range p.Bars {
		top = max(top, bar.Value, bar.Max)
	}
	if top == 0 {
		top = 1
	}
	scale := func(v float64) float64 { return v / top * plotWidth }
	bottom := y + rowHeight*len(p.Bars)
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#9ca3af"/>`+"\n", plotLeft, y-4, plotLeft, bottom-2)
	if p.Line > 0 {
		x := plotLeft + scale(p.Line)
		fmt.Fprintf(b, `<line x1="%s" y1="%d" x2="%s" y2="%d" stroke="#9ca3af" stroke-dasharray="3 3"/>`+"\n", px(x), y-4, px(x), bottom-2)
	}
	for _, bar := range p.Bars {
		bold := ""
		if bar.Tone == Strong {
			bold = " b"
		}
		middle := y + barHeight/2
		fmt.Fprintf(b, `<text class="l%s" x="%d" y="%d">%s</text>`, bold, plotLeft-10, middle+5, escape(bar.Label))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%s" height="%d" rx="2" fill="%s"/>`, plotLeft, y, px(scale(bar.Value)), barHeight, fills[bar.Tone])
		end := bar.Value
		if bar.Max > bar.Min {
			end = max(end, bar.Max)
			fmt.Fprintf(b, `<line x1="%s" y1="%d" x2="%s" y2="%d" stroke="#374151" stroke-width="1.2"/>`,
				px(plotLeft+scale(bar.Min)), middle, px(plotLeft+scale(bar.Max)), middle)
		}
		fmt.Fprintf(b, `<text class="v%s" x="%s" y="%d">%s %s</text>`+"\n", bold, px(plotLeft+scale(end)+7), middle+4, number(bar.Value), escape(c.Unit))
		y += rowHeight
	}
	return y + panelGap
}

// number shows three significant digits, at most two of them behind the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// px shows a coordinate with one digit behind the point.
func px(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
