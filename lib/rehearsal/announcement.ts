/** Leads each process of the application to the file in which it says what it does. */
export const announcementsVariable = 'GRACEFUL_UPGRADE_ANNOUNCEMENTS'

/** One line of it. */
export type Announcement =
  | { readonly pid: number; readonly listens: string }
  | { readonly pid: number; readonly registered: true }
