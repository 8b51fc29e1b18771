/** What a master tells of the whole service: a `Status`, or its metrics as text. */
export type Inquire = (about: 'status' | 'metrics') => Promise<unknown>
