/**
 * The text format of OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), which Prometheus reads as
 * `application/openmetrics-text; version=1.0.0; charset=utf-8`.
 */

/** One metric by its name without a suffix, and all of its values. */
export interface Family {
  readonly name: string
  readonly type: 'gauge' | 'counter' | 'summary'
  /** The name ends with it. */
  readonly unit?: 'seconds'
  readonly help: string
  readonly samples: readonly Sample[]
}

export interface Sample {
  /** Of a summary, what it is; a counter's is always `_total`. */
  readonly suffix?: '_sum' | '_count'
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

export function writeOpenMetrics(families: readonly Family[]): string {
  return `${families.map(writeFamily).join('')}# EOF\n`
}

function writeFamily({ name, type, unit, help, samples }: Family): string {
  const lines = [
    `# TYPE ${name} ${type}`,
    ...(unit === undefined ? [] : [`# UNIT ${name} ${unit}`]),
    `# HELP ${name} ${escaped(help)}`,
    ...samples.map(({ suffix = type === 'counter' ? '_total' : '', labels = {}, value }) => {
      return `${name}${suffix}${writeLabels(labels)} ${value}`
    })
  ]
  return lines.map(line => `${line}\n`).join('')
}

function writeLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
