//! Standing orders as their owners see them: create, replace, look at, pause, resume, delete, trigger. What places
//! their orders is in `ticks.rs`.

mod view;

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use uuid::Uuid;

pub use self::view::{LastTick, PendingTick, ScheduleView, Switch, TickError};

use super::{
    Placed, Shop, ShopError,
    books::{
        schedules::{self, Put, ScheduleRow},
        ticks,
    },
    calendar::{Cron, Rhythm},
    order::NewOrder,
    schedule::{NAME_CHARS_MAX, NewSchedule, check_name, order_of},
};

/// Tries of a resumption against others who change the same schedule.
const TRIES_MAX: usize = 8;

impl Shop {
    /// Creates a schedule, or replaces what it says; true when it is new.
    pub async fn put_schedule(
        &self,
        name: &str,
        new: NewSchedule,
    ) -> Result<(bool, ScheduleView), ShopError> {
        check_name(name)?;
        new.check()?;
        let time_zone = zone_name(new.time_zone.as_deref().unwrap_or("UTC"))?;
        self.check_order(name, &new.order).await?;
        let now = ticks::clock(&self.read).await?;
        let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let rhythm = rhythm(new.cron.as_deref(), new.every_seconds, &time_zone, second)?;
        let never = || ShopError::CronInvalid("it has no day that ever comes".to_owned());
        let next_at = rhythm.next_after(now).ok_or_else(never)?;
        let put = Put {
            name,
            schedule_id: Uuid::new_v4(),
            cron: new.cron.as_deref(),
            every_s: new.every_seconds,
            time_zone: &time_zone,
            overlap: new.overlap.as_str(),
            catch_up_s: new.catch_up_seconds,
            new_order: &serde_json::to_string(&new.order).unwrap_or_default(),
            anchor_at: second,
            next_at,
        };
        let is_new = schedules::put(&self.write, &put).await?;
        let is_new = is_new.ok_or(ShopError::TooManySchedules)?;
        self.schedules_changed.notify_one();
        Ok((is_new, self.find_schedule(name).await?))
    }

    /// Checks an order as placing it would, but for what is another matter at every tick: stock, and whether the shop is
    /// open.
    async fn check_order(&self, name: &str, order: &NewOrder) -> Result<(), ShopError> {
        let order = order_of(name, order.clone());
        self.check(&order).map_err(|error| match error {
            ShopError::Malformed(it) => it.inside("/order").into(),
            other => other,
        })?;
        let to = order.notify.as_ref().and_then(|it| it.to.as_ref());
        if let Some(to) = to.filter(|it| !self.participants.notices.has(it)) {
            return Err(ShopError::EndpointUnknown(to.clone()));
        }
        let menu = self.menu.refresh(&self.read).await?;
        menu.price(&order.items, order.expected_total, &self.pull)?;
        Ok(())
    }

    /// A schedule as it stands.
    pub async fn find_schedule(&self, name: &str) -> Result<ScheduleView, ShopError> {
        Ok(ScheduleView::of(self.schedule(name).await?))
    }

    /// All schedules, by name, without their orders.
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, ShopError> {
        let rows = schedules::read(&self.read, None).await?;
        let view = |row| ScheduleView { order: None, ..ScheduleView::of(row) };
        Ok(rows.into_iter().map(view).collect())
    }

    /// Deletes a schedule. Its orders stay, and one that is being placed comes all the same.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), ShopError> {
        match schedules::delete(&self.write, name).await? {
            true => Ok(()),
            false => Err(ShopError::NotFound("schedule")),
        }
    }

    /// Pauses a schedule; nothing changes in one that is paused.
    pub async fn pause_schedule(
        &self,
        name: &str,
        by: Option<&str>,
        reason: Option<&str>,
    ) -> Result<ScheduleView, ShopError> {
        schedules::pause(&self.write, name, by, reason).await?;
        self.find_schedule(name).await
    }

    /// Lets a paused schedule go on with its first tick from now on; what would have come in between was not missed.
    pub async fn resume_schedule(
        &self,
        name: &str,
        by: Option<&str>,
        reason: Option<&str>,
    ) -> Result<ScheduleView, ShopError> {
        for _ in 0..TRIES_MAX {
            let row = self.schedule(name).await?;
            if !row.paused {
                return Ok(ScheduleView::of(row));
            }
            let now = ticks::clock(&self.read).await?;
            let never = || ShopError::CronInvalid("it has no day that ever comes".to_owned());
            let next_at = row.rhythm()?.next_after(now).ok_or_else(never)?;
            if schedules::resume(&self.write, &row, by, reason, next_at).await? {
                self.schedules_changed.notify_one();
            }
        }
        self.find_schedule(name).await
    }

    /// Places the order of a schedule now, because somebody says so: also while it is paused, whatever is open, and
    /// beside its ticks.
    pub async fn trigger_schedule(
        &self,
        name: &str,
        key: Option<String>,
    ) -> Result<Placed, ShopError> {
        let row = self.schedule(name).await?;
        self.place(order_of(name, read_order(&row.new_order)?), key).await
    }

    async fn schedule(&self, name: &str) -> Result<ScheduleRow, ShopError> {
        let row = schedules::read(&self.read, Some(name)).await?.pop();
        row.ok_or(ShopError::NotFound("schedule"))
    }
}

/// An order as it was stored.
pub(super) fn read_order(text: &str) -> Result<NewOrder, ShopError> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(%error, "the order of a schedule cannot be read");
        ShopError::NotPlacing
    })
}

/// The name of a time zone as the database that comes with this binary spells it: a file that only this machine has
/// (`localtime`) is none. The zone's rules are those of the machine where it has them, for they are newer.
fn zone_name(name: &str) -> Result<String, ShopError> {
    let zone = TimeZoneDatabase::bundled().get(name).ok();
    let known = zone.as_ref().and_then(TimeZone::iana_name).filter(|it| *it != "Etc/Unknown");
    let unknown = || ShopError::TimeZoneUnknown(name.chars().take(NAME_CHARS_MAX).collect());
    known.map(str::to_owned).ok_or_else(unknown)
}

/// When the ticks of a schedule come.
pub(super) fn rhythm(
    cron: Option<&str>,
    every_s: Option<i32>,
    time_zone: &str,
    anchor: Timestamp,
) -> Result<Rhythm, ShopError> {
    let Some(cron) = cron else {
        return Ok(Rhythm::Every { seconds: every_s.unwrap_or(1).max(1).into(), anchor });
    };
    let zone =
        TimeZone::get(time_zone).map_err(|_| ShopError::TimeZoneUnknown(time_zone.to_owned()))?;
    Ok(Rhythm::Cron { cron: Cron::parse(cron).map_err(ShopError::CronInvalid)?, zone })
}

impl ScheduleRow {
    fn rhythm(&self) -> Result<Rhythm, ShopError> {
        rhythm(self.cron.as_deref(), self.every_s, &self.time_zone, self.anchor_at.to_jiff())
    }
}
